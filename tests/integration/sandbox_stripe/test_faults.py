"""Faults on demand: each does what it says to the effect, the answer and the key."""

from __future__ import annotations

import http.client
import time
from functools import partial

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw
from tests.support.waiting import wait_until


def _customers(control: Control) -> int:
    return control.state()["counts"]["customer"]


def test_a_500_after_the_effect_hides_a_customer_that_exists(raw: Raw, control: Control) -> None:
    control.fault("status", status=500, when="after", times=1)
    assert raw.post("/v1/customers", key="k").status == 500
    assert _customers(control) == 1
    assert raw.post("/v1/customers", key="k").status == 500
    assert _customers(control) == 1


def test_a_503_after_the_effect_keeps_the_true_answer_under_the_key(raw: Raw, control: Control) -> None:
    control.fault("status", status=503, when="after", times=1)
    assert raw.post("/v1/customers", key="k").status == 503
    again = raw.post("/v1/customers", key="k")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")


def test_a_409_says_that_its_key_is_in_use(raw: Raw, control: Control) -> None:
    control.fault("status", status=409, times=1)
    refused = raw.post("/v1/customers", key="k")
    assert (refused.status, refused.body["error"]["code"]) == (409, "idempotency_key_in_use")
    assert raw.post("/v1/customers", key="k").status == 200


@pytest.mark.parametrize(("when", "effect"), [("before", 0), ("after", 1)])
def test_a_dropped_connection_answers_nothing(raw: Raw, control: Control, when: str, effect: int) -> None:
    control.fault("drop", when=when, times=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        raw.post("/v1/customers", key="k")
    assert _customers(control) == effect
    assert raw.post("/v1/customers", key="k").status == 200
    assert _customers(control) == 1


@pytest.mark.parametrize(("when", "effect"), [("before", 0), ("after", 1)])
def test_a_hanging_request_frees_its_key_once_the_client_gives_up(
    raw: Raw, control: Control, when: str, effect: int
) -> None:
    control.fault("hang", when=when, times=1)
    with pytest.raises(TimeoutError):
        raw.post("/v1/customers", key="k", timeout=0.3)
    assert _customers(control) == effect
    wait_until(lambda: raw.post("/v1/customers", key="k").status == 200)
    assert _customers(control) == 1


def test_a_partial_body_is_cut_after_the_effect(raw: Raw, control: Control) -> None:
    control.fault("partial", times=1)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        raw.post("/v1/customers", key="k")
    assert _customers(control) == 1


def test_a_slow_body_arrives_whole_and_late(raw: Raw, control: Control) -> None:
    control.fault("slow_body", ms=300, times=1)
    started = time.monotonic()
    assert raw.post("/v1/customers").body["object"] == "customer"
    assert time.monotonic() - started >= 0.25


def test_a_body_that_never_ends_keeps_its_reader_waiting(raw: Raw, control: Control) -> None:
    control.fault("slow_body", ms=10, finish=False, times=1)
    with pytest.raises(TimeoutError):
        raw.post("/v1/customers", timeout=0.5)
    assert _customers(control) == 1


def test_a_rule_takes_only_the_requests_it_matches(raw: Raw, control: Control) -> None:
    control.fault("status", status=503, match={"method": "POST", "path": "/v1/customers", "user_id": "u2"})
    assert raw("POST", "/v1/customers", {"metadata[user_id]": "u1"}).status == 200
    assert raw("POST", "/v1/customers", {"metadata[user_id]": "u2"}).status == 503
    assert raw.get("/v1/customers").status == 200
    control.clear_faults()
    control.fault("status", status=503, match={"path_regex": "customers/cus_", "idempotency_key": "k"})
    assert raw.post("/v1/customers", key="k").status == 200
    assert raw.post("/v1/customers/cus_x", key="k").status == 503


def test_a_limited_request_says_which_limit_it_hit(raw: Raw, control: Control) -> None:
    control.fault("status", status=429, reason="endpoint-rate", times=1)
    limited = raw.get("/v1/customers")
    assert limited.headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert limited.body["error"]["code"] == "rate_limit"
    control.fault("status", status=429, code="lock_timeout", times=1)
    locked = raw.get("/v1/customers")
    assert (locked.status, locked.body["error"]["code"]) == (429, "lock_timeout")
    assert "Stripe-Rate-Limited-Reason" not in locked.headers


def test_latency_counts_as_handling_time(raw: Raw, control: Control) -> None:
    control.latency(dist="uniform", low=60, high=80)
    raw("POST", "/v1/customers", {"metadata[user_id]": "u1"}, key="k")
    control.latency()
    raw.get("/v1/customers")
    slow, fast = control.requests()
    assert (slow["user_id"], slow["idempotency_key"], slow["status"]) == ("u1", "k", 200)
    assert slow["handled_ms"] is not None
    assert fast["handled_ms"] is not None
    assert slow["handled_ms"] >= 60 > fast["handled_ms"]
    assert [entry["n"] for entry in control.requests(since=slow["n"])] == [fast["n"]]


def test_an_effect_outlives_a_client_that_gave_up(raw: Raw, control: Control) -> None:
    control.fault("latency", ms=400, times=1)
    with pytest.raises(TimeoutError):
        raw.post("/v1/customers", key="k", timeout=0.1)
    wait_until(lambda: _customers(control) == 1)
    assert raw.post("/v1/customers", key="k").headers["Idempotent-Replayed"] == "true"


def test_chaos_from_one_seed_is_the_same_chaos(raw: Raw, control: Control) -> None:
    def run() -> list[int]:
        control.reset()
        control.chaos(7, {"unavailable": 0.3, "rate_limited": 0.3})
        return [raw.get("/v1/customers").status for _ in range(30)]

    first = run()
    assert run() == first
    assert set(first) == {200, 429, 503}


def test_whoever_repeats_with_the_same_keys_gets_each_customer_once_in_any_chaos(raw: Raw, control: Control) -> None:
    rates = {"drop_before": 0.1, "drop_after": 0.1, "partial": 0.1, "rate_limited": 0.1, "unavailable": 0.1}
    control.chaos(5, {**rates, "lock_timeout": 0.1}, {"ms": 1})

    def settled(user: int) -> bool:
        try:
            answer = raw("POST", "/v1/customers", {"metadata[user_id]": f"u{user}"}, key=f"k{user}")
        except (ConnectionError, http.client.HTTPException):
            return False
        return answer.status == 200

    for user in range(30):
        wait_until(partial(settled, user))
    assert control.state()["counts"]["customer"] == 30
    assert control.duplicates() == {}
    assert {entry["fault"] for entry in control.requests()} >= {"drop:before", "drop:after", "partial", None}


def test_an_unknown_fault_is_refused_with_a_sentence(control: Control) -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        control.fault("earthquake")
    with pytest.raises(ValueError, match="unknown field"):
        control.fault("drop", match={"colour": "red"})

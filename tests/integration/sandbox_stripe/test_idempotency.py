"""Idempotency over HTTP: what is saved, what is not, and for how long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw
from tests.support.waiting import wait_until


def test_a_replay_has_the_same_body_and_says_so(raw: Raw) -> None:
    first = raw.post("/v1/customers", key="k", email="a@example.com")
    again = raw.post("/v1/customers", key="k", email="a@example.com")
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"] != again.headers["Request-Id"]
    assert again.headers["Idempotency-Key"] == "k"


def test_an_error_of_execution_is_saved(raw: Raw, price: str) -> None:
    order = {"customer": "cus_none", "items[0][price]": price}
    first = raw("POST", "/v1/subscriptions", order, key="k")
    again = raw("POST", "/v1/subscriptions", order, key="k")
    assert (first.status, first.body["error"]["code"], first.body["error"]["param"]) == (
        400,
        "resource_missing",
        "customer",
    )
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body == first.body


def test_a_request_that_fails_validation_leaves_its_key_free(raw: Raw) -> None:
    assert raw.post("/v1/customers", key="k", nonsense="1").body["error"]["code"] == "parameter_unknown"
    assert raw.post("/v1/customers", key="k", email="x").body["error"]["code"] == "email_invalid"
    assert raw.post("/v1/customers", key="k", email="a@example.com").status == 200


def test_a_key_belongs_to_its_endpoint_and_parameters(raw: Raw) -> None:
    raw.post("/v1/customers", key="k", name="A")
    other = raw.post("/v1/products", key="k", name="A")
    assert (other.status, other.body["error"]["type"]) == (400, "idempotency_error")
    assert raw.post("/v1/customers", key="k", name="B").body["error"]["type"] == "idempotency_error"


def test_a_key_in_flight_answers_409(raw: Raw, control: Control) -> None:
    control.fault("latency", ms=1500, times=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(raw.post, "/v1/customers", key="k", name="A")
        wait_until(lambda: len(control.requests()) == 1)
        second = raw.post("/v1/customers", key="k", name="A")
        mismatched = raw.post("/v1/customers", key="k", name="B")
        assert slow.result().status == 200
    assert (second.status, second.body["error"]["code"]) == (409, "idempotency_key_in_use")
    assert mismatched.status == 400
    assert control.state()["counts"]["customer"] == 1


def test_a_refused_request_does_not_free_the_key_of_the_one_in_flight(raw: Raw, control: Control) -> None:
    control.fault("latency", ms=1500, times=1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(raw.post, "/v1/customers", key="k", name="A")
        wait_until(lambda: len(control.requests()) == 1)
        control.fault("status", status=503, times=1)
        assert raw.post("/v1/customers", key="k", name="A").status == 503
        assert raw.post("/v1/customers", key="k", name="A").status == 409
        assert slow.result().status == 200


def test_a_key_is_forgotten_after_a_day_of_its_clock(raw: Raw, control: Control) -> None:
    first = raw.post("/v1/customers", key="k")
    control.jump(24 * 3600 - 60)
    assert raw.post("/v1/customers", key="k").body == first.body
    control.jump(120)
    assert raw.post("/v1/customers", key="k").body["id"] != first.body["id"]


def test_keys_on_reads_and_deletes_are_ignored(raw: Raw) -> None:
    customer = raw.post("/v1/customers").body["id"]
    path = f"/v1/customers/{customer}"
    assert raw("GET", path, key="k").status == 200
    assert raw("DELETE", path, key="k").status == 200
    assert raw("DELETE", path, key="k").status == 404


def test_a_key_has_up_to_255_characters(raw: Raw) -> None:
    assert raw.post("/v1/customers", key="k" * 255).status == 200
    assert raw.post("/v1/customers", key="k" * 256).status == 400


@pytest.mark.parametrize(("status", "saved"), [(500, True), (503, False), (429, False)])
def test_a_500_is_saved_and_what_never_executed_is_not(raw: Raw, control: Control, status: int, saved: bool) -> None:
    control.fault("status", status=status, times=1)
    assert raw.post("/v1/customers", key="k").status == status
    again = raw.post("/v1/customers", key="k")
    assert again.status == (status if saved else 200)
    assert ("Idempotent-Replayed" in again.headers) is saved
    assert control.state()["counts"]["customer"] == (0 if saved else 1)

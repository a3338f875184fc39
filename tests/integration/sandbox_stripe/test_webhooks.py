"""Webhook endpoints: what they get, how it is signed, and what comes of what does not arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw
from tests.integration.sandbox_stripe.receiver import Delivered, Receiver
from tests.support.waiting import wait_until

PATH = "/v1/webhook_endpoints"
HOUR = 3600


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def _listen(raw: Raw, receiver: Receiver, *kinds: str, **more: object) -> dict[str, Any]:
    types = {f"enabled_events[{place}]": kind for place, kind in enumerate(kinds or ("*",))}
    answer = raw("POST", PATH, {"url": receiver.url, **types, **more})
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


def _about(delivered: list[Delivered]) -> list[str]:
    return [json.loads(each.body)["data"]["object"]["id"] for each in delivered]


def _pending(raw: Raw, *, success: bool) -> list[int]:
    """`pending_webhooks` of the events that `delivery_success` lists."""
    listed = raw.get("/v1/events", delivery_success=str(success).lower()).body["data"]
    return [event["pending_webhooks"] for event in listed]


def test_an_event_arrives_signed_and_counts_as_delivered(raw: Raw, receiver: Receiver) -> None:
    endpoint = _listen(raw, receiver, "customer.created")
    raw.post("/v1/products", name="P")
    customer = raw.post("/v1/customers", email="ada@example.com").body
    event = receiver.wait(1)[0].event(endpoint["secret"])
    assert (event.type, event.data.object["id"], event.pending_webhooks) == ("customer.created", customer["id"], 1)
    wait_until(lambda: _pending(raw, success=False) == [])
    assert _pending(raw, success=True) == [0, 0]
    with pytest.raises(stripe.SignatureVerificationError):
        receiver.taken[0].event("whsec_other")


def test_an_endpoint_is_kept_as_stripe_keeps_it(raw: Raw, receiver: Receiver, client: stripe.StripeClient) -> None:
    endpoint = _listen(raw, receiver, "customer.created", api_version="2024-06-20", **{"metadata[ours]": "1"})
    assert endpoint["secret"].startswith("whsec_")
    service = client.v1.webhook_endpoints
    changed = service.update(endpoint["id"], {"enabled_events": ["*"], "description": "d", "metadata": {"ours": ""}})
    assert changed.to_dict() == {
        **{name: value for name, value in endpoint.items() if name != "secret"},
        "enabled_events": ["*"],
        "description": "d",
        "metadata": {},
    }
    assert service.retrieve(endpoint["id"]).to_dict() == changed.to_dict()
    assert [row.to_dict() for row in service.list().data] == [changed.to_dict()]
    assert raw("POST", f"{PATH}/{endpoint['id']}", {"api_version": "2025-03-31.basil"}).status == 400
    assert service.delete(endpoint["id"]).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such webhook endpoint"):
        service.retrieve(endpoint["id"])


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"url": "example.com/hook"}, "url"),
        ({"enabled_events[0]": "customer.invented"}, "enabled_events[0]"),
        ({"api_version": "2031-01-01.zinnia"}, "api_version"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_what_stripe_refuses_of_an_endpoint_is_refused(raw: Raw, wrong: dict[str, str], param: str) -> None:
    answer = raw("POST", PATH, {"url": "https://example.com/hook", "enabled_events[0]": "*", **wrong})
    assert (answer.status, answer.body["error"]["param"]) == (400, param)


def test_an_account_has_sixteen_endpoints_at_most(raw: Raw, receiver: Receiver) -> None:
    for _ in range(16):
        _listen(raw, receiver, "customer.deleted")
    assert raw("POST", PATH, {"url": receiver.url, "enabled_events[0]": "*"}).status == 400


def test_a_refused_event_is_repeated_three_times_over_hours(raw: Raw, control: Control, receiver: Receiver) -> None:
    _listen(raw, receiver)
    receiver.status = 500
    raw.post("/v1/customers")
    for attempt, wait in enumerate([0, 10 * 60, HOUR, 3 * HOUR, 72 * HOUR], start=1):
        control.jump(wait)
        receiver.wait(min(attempt, 4))
        wait_until(lambda: len(control.deliveries()) == len(receiver.taken))
        assert _pending(raw, success=False) == [1]
    assert [row["attempt"] for row in control.deliveries()] == [1, 2, 3, 4]
    assert {each.body for each in receiver.taken} == {receiver.taken[0].body}


def test_an_endpoint_that_is_well_again_gets_what_it_missed(raw: Raw, control: Control, receiver: Receiver) -> None:
    endpoint = _listen(raw, receiver)
    with Receiver() as other:
        _listen(raw, other)
        receiver.status = 503
        raw.post("/v1/customers")
        wait_until(lambda: _pending(raw, success=False) == [1])
        receiver.status = 204
        control.jump(10 * 60 + 1)
        wait_until(lambda: _pending(raw, success=True) == [0])
        assert (len(receiver.taken), len(other.taken)) == (2, 1)
    assert receiver.taken[1].event(endpoint["secret"]).type == "customer.created"


def test_a_live_account_repeats_for_three_days(raw: Raw, control: Control, receiver: Receiver) -> None:
    control.webhooks(schedule="live")
    _listen(raw, receiver)
    receiver.status = 302
    raw.post("/v1/customers")
    for attempt in range(1, 11):
        receiver.wait(attempt)
        wait_until(lambda: len(control.deliveries()) == len(receiver.taken))
        control.jump(18 * HOUR)
    assert [row["attempt"] for row in control.deliveries()] == list(range(1, 11))
    assert control.deliveries(since=9)[0]["status"] == 302


def test_a_slow_endpoint_delays_neither_the_api_nor_another_endpoint(raw: Raw, receiver: Receiver) -> None:
    _listen(raw, receiver)
    receiver.gate.clear()
    with Receiver() as other:
        _listen(raw, other)
        made = [raw.post("/v1/customers").body["id"] for _ in range(30)]
        assert sorted(_about(other.wait(30))) == sorted(made)
        assert not receiver.gate.is_set()
    assert len(receiver.taken) == 16
    receiver.gate.set()
    receiver.wait(30)


def test_an_endpoint_that_never_answers_has_failed_after_its_time(
    raw: Raw, control: Control, receiver: Receiver
) -> None:
    control.webhooks(timeout=0.2)
    _listen(raw, receiver)
    receiver.gate.clear()
    raw.post("/v1/customers")
    wait_until(lambda: [row["problem"] for row in control.deliveries()] == ["timeout"])
    assert _pending(raw, success=False) == [1]


def test_a_disabled_endpoint_gets_nothing_new_and_no_repetition(raw: Raw, control: Control, receiver: Receiver) -> None:
    path = f"{PATH}/{_listen(raw, receiver)['id']}"
    receiver.status = 500
    raw.post("/v1/customers")
    wait_until(lambda: len(control.deliveries()) == 1)
    assert raw.post(path, disabled="true").body["status"] == "disabled"
    control.jump(HOUR)
    raw.post("/v1/customers")
    assert _pending(raw, success=True) == [0]
    assert raw.post(path, disabled="false").body["status"] == "enabled"
    made = raw.post("/v1/customers").body["id"]
    control.jump(72 * HOUR)
    receiver.wait(2)
    assert _about(receiver.taken)[1] == made
    assert _pending(raw, success=False)[-1] == 1


def test_time_that_passes_is_told_without_a_request(raw: Raw, control: Control, receiver: Receiver, price: str) -> None:
    customer = raw.post("/v1/customers").body["id"]
    raw("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price, "trial_period_days": 31})
    _listen(raw, receiver, "customer.subscription.trial_will_end")
    control.jump(29 * 86_400)
    assert json.loads(receiver.wait(1)[0].body)["type"] == "customer.subscription.trial_will_end"


def test_while_a_secret_is_rolled_both_sign(raw: Raw, control: Control, receiver: Receiver) -> None:
    endpoint = _listen(raw, receiver)
    second = control.roll_secret(endpoint["id"], keep_seconds=HOUR)
    raw.post("/v1/customers")
    both = receiver.wait(1)[0]
    assert both.event(endpoint["secret"]).id == both.event(second).id
    control.jump(HOUR)
    raw.post("/v1/customers")
    late = receiver.wait(2)[1]
    assert late.event(second).type == "customer.created"
    with pytest.raises(stripe.SignatureVerificationError):
        late.event(endpoint["secret"])


def test_a_signature_is_dated_by_the_machine_or_off_as_asked(raw: Raw, control: Control, receiver: Receiver) -> None:
    secret = _listen(raw, receiver)["secret"]
    control.jump(90 * 86_400)
    raw.post("/v1/customers")
    assert receiver.wait(1)[0].event(secret).type == "customer.created"
    control.webhooks(skew=-3600)
    raw.post("/v1/customers")
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        receiver.wait(2)[1].event(secret)


def test_an_event_is_sent_again_on_demand(raw: Raw, control: Control, receiver: Receiver) -> None:
    _listen(raw, receiver)
    raw.post("/v1/customers")
    first = receiver.wait(1)[0]
    wait_until(lambda: _pending(raw, success=True) == [0])
    assert control.resend(json.loads(first.body)["id"]) == 1
    assert json.loads(receiver.wait(2)[1].body)["id"] == json.loads(first.body)["id"]
    wait_until(lambda: len(control.deliveries()) == 2)
    assert _pending(raw, success=True) == [0]


def test_an_endpoint_can_sign_with_a_secret_that_was_agreed_before(
    raw: Raw, control: Control, receiver: Receiver
) -> None:
    made = control.listen(receiver.url, "customer.created", secret="whsec_agreed")
    raw.post("/v1/products", name="P")
    raw.post("/v1/customers")
    assert receiver.wait(1)[0].event("whsec_agreed").type == "customer.created"
    assert raw.get(f"{PATH}/{made['id']}").body == {name: value for name, value in made.items() if name != "secret"}


def test_what_was_missed_is_listed_page_by_page(raw: Raw, control: Control, receiver: Receiver) -> None:
    _listen(raw, receiver, "customer.created")
    control.mishap("drop", match={"type": "customer.created"}, times=2)
    made = []
    for _ in range(3):
        made.append(raw.post("/v1/customers").body["id"])
        raw.post("/v1/products", name="P")
    receiver.wait(1)
    wait_until(lambda: len(_pending(raw, success=False)) == 2)
    newest = raw.get("/v1/events", delivery_success="false", limit=1).body
    rest = raw.get("/v1/events", delivery_success="false", starting_after=newest["data"][0]["id"]).body
    found = [event["data"]["object"]["id"] for event in newest["data"] + rest["data"]]
    assert (found, newest["has_more"], rest["has_more"]) == (made[1::-1], True, False)
    assert len(_pending(raw, success=True)) == 4


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1:9/", "http://nowhere.invalid/", "http://☃/"])
def test_an_endpoint_that_cannot_be_reached_has_failed(raw: Raw, control: Control, url: str) -> None:
    raw("POST", PATH, {"url": url, "enabled_events[0]": "*"})
    raw.post("/v1/customers")
    wait_until(lambda: len(control.deliveries()) == 1)
    (attempt,) = control.deliveries()
    assert (attempt["status"], attempt["problem"] is None) == (0, False)
    assert _pending(raw, success=False) == [1]


def test_what_an_advanced_test_clock_does_is_delivered_while_nobody_asks(raw: Raw, receiver: Receiver) -> None:
    clock = raw.post("/v1/test_helpers/test_clocks", frozen_time=int(time.time())).body
    price = raw(
        "POST",
        "/v1/prices",
        {"currency": "usd", "unit_amount": 500, "recurring[interval]": "month", "product_data[name]": "Paid"},
    ).body["id"]
    customer = raw.post("/v1/customers", test_clock=clock["id"]).body["id"]
    trial = {"customer": customer, "items[0][price]": price, "trial_period_days": 10}
    subscription = raw("POST", "/v1/subscriptions", trial).body
    kinds = ("customer.subscription.trial_will_end", "customer.subscription.updated", "invoice.payment_failed")
    _listen(raw, receiver, *kinds, "test_helpers.test_clock.ready")
    raw.post(f"/v1/test_helpers/test_clocks/{clock['id']}/advance", frozen_time=subscription["trial_end"] + HOUR)
    events = [json.loads(each.body) for each in receiver.wait(5)]
    assert sorted(event["type"] for event in events) == [
        "customer.subscription.trial_will_end",
        "customer.subscription.updated",
        "customer.subscription.updated",
        "invoice.payment_failed",
        "test_helpers.test_clock.ready",
    ]
    assert all(abs(event["created"] - time.time()) < 60 for event in events)
    (ready,) = (event for event in events if event["type"] == "test_helpers.test_clock.ready")
    assert ready["data"]["object"]["status"] == "ready"

"""/v1/events: what is told of the past, for how long, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw

DAY = 86_400


def _subscribe(raw: Raw, price: str, **more: object) -> dict[str, Any]:
    customer = raw.post("/v1/customers").body["id"]
    terms = {"customer": customer, "items[0][price]": price, "trial_period_days": 31, **more}
    body: dict[str, Any] = raw("POST", "/v1/subscriptions", terms).body
    return body


def _events(raw: Raw, **filters: object) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = raw.get("/v1/events", **filters).body["data"]
    return page


def test_an_update_tells_the_old_values_of_what_changed_and_of_nothing_else(raw: Raw, price: str) -> None:
    subscription = _subscribe(raw, price, **{"metadata[kept]": "1", "metadata[changed]": "old"})
    item = subscription["items"]["data"][0]
    changes = {"metadata[changed]": "new", "metadata[added]": "x", "items[0][id]": item["id"], "items[0][quantity]": 2}
    raw("POST", f"/v1/subscriptions/{subscription['id']}", changes)
    told = _events(raw, type="customer.subscription.updated")[0]["data"]
    assert told["previous_attributes"] == {"items": {"data": [item]}, "metadata": {"changed": "old", "added": None}}
    assert told["object"]["items"]["data"][0]["quantity"] == 2


def test_an_update_that_changes_nothing_makes_no_event(raw: Raw) -> None:
    customer = raw("POST", "/v1/customers", {"name": "Ada", "metadata[a]": "1"}).body["id"]
    raw("POST", f"/v1/customers/{customer}", {"name": "Ada", "metadata[a]": "1"})
    assert [event["type"] for event in _events(raw)] == ["customer.created"]


def test_events_that_no_update_made_tell_no_old_values(raw: Raw, control: Control, price: str) -> None:
    behavior = "trial_settings[end_behavior][missing_payment_method]"
    path = f"/v1/subscriptions/{_subscribe(raw, price, **{behavior: 'pause'})['id']}"
    control.jump(32 * DAY)
    raw.post(f"{path}/resume")
    raw("DELETE", path)
    told = _events(raw, limit=100)
    assert {"customer.subscription.paused", "customer.subscription.resumed"} <= {event["type"] for event in told}
    assert {event["type"] for event in told if "previous_attributes" in event["data"]} == {
        "customer.subscription.updated"
    }


def test_an_event_is_gone_after_thirty_days(raw: Raw, control: Control) -> None:
    raw.post("/v1/customers")
    old = _events(raw)[0]["id"]
    control.jump(30 * DAY - 60)
    assert raw.get(f"/v1/events/{old}").status == 200
    assert raw.get("/v1/events", ending_before=old).status == 200
    control.jump(120)
    assert _events(raw) == []
    gone = raw.get(f"/v1/events/{old}")
    assert (gone.status, gone.body["error"]["code"]) == (404, "resource_missing")
    for cursor in ("starting_after", "ending_before"):
        refused = raw.get("/v1/events", **{cursor: old})
        assert (refused.status, refused.body["error"]["param"]) == (400, cursor)


def test_types_are_names_twenty_at_most_and_a_type_may_be_a_group(raw: Raw) -> None:
    raw.post("/v1/products", name="P")
    raw.post("/v1/customers")
    named = {f"types[{place}]": kind for place, kind in enumerate(["customer.created"] + ["coupon.created"] * 19)}
    assert [event["type"] for event in _events(raw, **named)] == ["customer.created"]
    assert raw.get("/v1/events", **named, **{"types[20]": "x"}).status == 400
    assert raw.get("/v1/events", **{"types[]": "customer.created", "type": "customer.created"}).status == 400
    assert [event["type"] for event in _events(raw, type="product.*")] == ["product.created"]
    assert _events(raw, **{"types[]": "product.*"}) == []


def test_events_of_one_second_are_listed_in_the_order_that_they_happened_in(raw: Raw, control: Control) -> None:
    control.freeze()
    made = [raw.post("/v1/customers").body["id"] for _ in range(5)]
    page = _events(raw)
    assert len({event["created"] for event in page}) == 1
    assert [event["data"]["object"]["id"] for event in page] == made[::-1]
    assert _events(raw, starting_after=page[1]["id"], limit=2) == page[2:4]
    assert _events(raw, ending_before=page[2]["id"], limit=2) == page[:2]
    control.freeze(frozen=False)
    control.jump(1)
    raw.post("/v1/customers")
    assert _events(raw)[0]["created"] > page[0]["created"]


def test_an_event_names_the_request_that_made_it(raw: Raw, control: Control, price: str) -> None:
    made = raw.post("/v1/customers", key="k")
    assert _events(raw)[0]["request"] == {"id": made.headers["Request-Id"], "idempotency_key": "k"}
    _subscribe(raw, price)
    control.jump(31 * DAY)
    timed = _events(raw, type="customer.subscription.trial_will_end")[0]
    assert timed["request"] == {"id": None, "idempotency_key": None}
    assert (timed["livemode"], timed["pending_webhooks"]) == (False, 0)


def test_lists_may_show_events_late_and_a_newer_one_first(raw: Raw, control: Control) -> None:
    control.freeze()
    control.event_lag(100)
    ids = [raw.post("/v1/customers").body["id"] for _ in range(30)]
    seen: list[str] = []
    for _ in range(11):
        shown = [event["data"]["object"]["id"] for event in _events(raw, limit=100)]
        seen += [identifier for identifier in shown[::-1] if identifier not in seen]
        control.jump(10)
    assert sorted(seen) == sorted(ids)
    assert seen != ids


@pytest.mark.parametrize("cursor", ["evt_none", "cus_none"])
def test_a_cursor_that_never_was_is_refused(raw: Raw, cursor: str) -> None:
    answer = raw.get("/v1/events", starting_after=cursor)
    assert (answer.status, answer.body["error"]["message"]) == (400, f"No such event: '{cursor}'")

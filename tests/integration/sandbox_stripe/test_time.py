"""What the sandbox's clock does to subscriptions."""

from __future__ import annotations

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw

DAY = 86_400


def _trial(raw: Raw, price: str, behavior: str) -> dict[str, object]:
    order = {
        "customer": raw.post("/v1/customers").body["id"],
        "items[0][price]": price,
        "trial_period_days": 31,
        "trial_settings[end_behavior][missing_payment_method]": behavior,
    }
    body: dict[str, object] = raw("POST", "/v1/subscriptions", order).body
    return body


@pytest.mark.parametrize(
    ("behavior", "status", "event"),
    [("pause", "paused", "paused"), ("cancel", "canceled", "deleted"), ("create_invoice", "active", "updated")],
)
def test_a_trial_ends_as_its_settings_say(
    raw: Raw, control: Control, price: str, behavior: str, status: str, event: str
) -> None:
    subscription = _trial(raw, price, behavior)
    control.jump(31 * DAY - 60)
    assert raw.get(f"/v1/subscriptions/{subscription['id']}").body["status"] == "trialing"
    control.jump(3600)
    assert raw.get(f"/v1/subscriptions/{subscription['id']}").body["status"] == status
    told = raw.get("/v1/events", type=f"customer.subscription.{event}").body["data"]
    assert [row["created"] for row in told] == [subscription["trial_end"]]


def test_the_end_of_a_trial_is_announced_three_days_ahead(raw: Raw, control: Control, price: str) -> None:
    _trial(raw, price, "pause")
    kind = "customer.subscription.trial_will_end"
    control.jump(28 * DAY - 60)
    assert raw.get("/v1/events", type=kind).body["data"] == []
    control.jump(120)
    assert len(raw.get("/v1/events", type=kind).body["data"]) == 1
    control.jump(5 * DAY)
    assert len(raw.get("/v1/events", type=kind).body["data"]) == 1


def test_a_short_trial_is_announced_at_once(raw: Raw, price: str) -> None:
    customer = raw.post("/v1/customers").body["id"]
    raw("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price, "trial_period_days": 2})
    assert len(raw.get("/v1/events", type="customer.subscription.trial_will_end").body["data"]) == 1


def test_a_paused_subscription_is_resumed(raw: Raw, control: Control, price: str) -> None:
    subscription = _trial(raw, price, "pause")
    control.jump(32 * DAY)
    assert raw.post(f"/v1/subscriptions/{subscription['id']}/resume").body["status"] == "active"


def test_a_moved_trial_ends_at_its_new_end_only(raw: Raw, control: Control, price: str) -> None:
    subscription = _trial(raw, price, "pause")
    path = f"/v1/subscriptions/{subscription['id']}"
    later = int(str(subscription["trial_end"])) + 10 * DAY
    assert raw.post(path, trial_end=later).body["trial_end"] == later
    control.jump(35 * DAY)
    assert raw.get(path).body["status"] == "trialing"
    control.jump(10 * DAY)
    assert raw.get(path).body["status"] == "paused"


def test_a_subscription_that_changes_meanwhile_is_announced_once(raw: Raw, control: Control, price: str) -> None:
    subscription = _trial(raw, price, "pause")
    for n in range(3):
        raw("POST", f"/v1/subscriptions/{subscription['id']}", {"metadata[n]": n})
    control.jump(40 * DAY)
    for kind in ("trial_will_end", "paused"):
        assert len(raw.get("/v1/events", type=f"customer.subscription.{kind}").body["data"]) == 1


def test_an_active_subscription_goes_from_month_to_month(raw: Raw, control: Control, price: str) -> None:
    subscription = _trial(raw, price, "create_invoice")
    control.jump((31 + 70) * DAY)
    found = raw.get(f"/v1/subscriptions/{subscription['id']}").body
    item = found["items"]["data"][0]
    assert item["current_period_start"] < control.health()["now"] < item["current_period_end"]
    assert 28 * DAY <= item["current_period_end"] - item["current_period_start"] <= 31 * DAY
    bills = raw.get("/v1/invoices").body["data"]
    assert [bill["billing_reason"] for bill in bills] == ["subscription_cycle"] * 3 + ["subscription_create"]


def test_a_scheduled_cancellation_falls_due(raw: Raw, control: Control, price: str) -> None:
    subscription = _trial(raw, price, "create_invoice")
    path = f"/v1/subscriptions/{subscription['id']}"
    assert raw.post(path, cancel_at_period_end="true").body["cancel_at"] == subscription["trial_end"]
    control.jump(32 * DAY)
    assert raw.get(path).body["ended_at"] == subscription["trial_end"]


def test_a_canceled_subscription_takes_metadata_alone(raw: Raw, price: str) -> None:
    path = f"/v1/subscriptions/{_trial(raw, price, 'pause')['id']}"
    raw("DELETE", path)
    assert raw.post(path, description="x").status == 400
    assert raw("POST", path, {"metadata[a]": "b"}).body["metadata"] == {"a": "b"}

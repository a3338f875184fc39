"""A paused subscription that goes on: with a card, with none yet, and once more after its invoice was void."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.account import Account
from tests.contract.life import Clock, reread

NOW = {"billing_cycle_anchor": "now"}


def _paused(account: Account, clock: Clock, customer: dict[str, Any], price: str) -> dict[str, Any]:
    pausing = {"end_behavior": {"missing_payment_method": "pause"}}
    trial = clock.trial(customer, price, 5, trial_settings=pausing)
    clock.advance(days=5, hours=2)
    paused = reread(account, trial)
    assert paused["status"] == "paused"
    return paused


def test_a_paused_subscription_changes_its_plan_and_is_resumed_by_a_card(
    account: Account, clock: Clock, free: str, paid: str
) -> None:
    """The change costs nothing until then, and the resumption is paid at once."""
    customer = clock.customer()
    paused = _paused(account, clock, customer, free)
    path = f"/v1/subscriptions/{paused['id']}"
    item = {"id": paused["items"]["data"][0]["id"], "price": paid}
    changed = account.post(
        path, {"items": [item], "proration_behavior": "none", "default_payment_method": clock.card(customer)}
    )
    assert (changed["status"], changed["latest_invoice"]) == ("paused", paused["latest_invoice"])
    account.post(f"{path}/resume", NOW)
    active = account.eventually("it is active", lambda: _in(account, paused, "active"))
    assert (active["latest_invoice"]["status"], active["latest_invoice"]["amount_paid"]) == ("paid", 500)
    account.event(paused["id"], "customer.subscription.resumed")


@pytest.mark.parametrize("end", ["pay", "void"])
def test_one_resumed_without_a_card_stays_paused_until_its_invoice_is_paid_or_void(
    account: Account, clock: Clock, paid: str, end: str
) -> None:
    """Hence "payment pending"; another attempt pays that invoice, and after a void one it is resumed once more."""
    customer = clock.customer()
    paused = _paused(account, clock, customer, paid)
    path = f"/v1/subscriptions/{paused['id']}"
    account.post(f"{path}/resume", NOW)
    waiting = reread(account, paused, "latest_invoice")
    bill = waiting["latest_invoice"]
    assert (waiting["status"], bill["status"], bill["id"] != paused["latest_invoice"]) == ("paused", "open", True)
    card = clock.card(customer)
    if end == "pay":
        account.post(f"/v1/invoices/{bill['id']}/pay", {"payment_method": card})
    else:
        account.post(f"/v1/invoices/{bill['id']}/void")
        assert reread(account, paused)["status"] == "paused"
        account.post(path, {"default_payment_method": card})
        account.post(f"{path}/resume", NOW)
    active = account.eventually("it is active", lambda: _in(account, paused, "active"))
    assert active["latest_invoice"]["status"] == "paid"


def _in(account: Account, subscription: dict[str, Any], status: str) -> dict[str, Any] | None:
    now = reread(account, subscription, "latest_invoice")
    return now if now["status"] == status else None

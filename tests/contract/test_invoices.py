"""The invoice of a trial's end: which events tell of it, in which order, with which fields."""

from __future__ import annotations

from typing import Any

from tests.contract.account import Account
from tests.contract.life import Clock, reread


def test_a_paid_invoice_is_created_then_finalized_then_paid(account: Account, clock: Clock, paid: str) -> None:
    customer = clock.customer()
    trial = clock.trial(customer, paid, 5, default_payment_method=clock.card(customer))
    clock.advance(days=6)
    now = reread(account, trial, "latest_invoice")
    invoice = now["latest_invoice"]
    assert (now["status"], invoice["status"], invoice["billing_reason"]) == ("active", "paid", "subscription_cycle")
    kinds = ("invoice.created", "invoice.finalized", "invoice.paid", "invoice.payment_succeeded")
    told = {event["type"]: event for event in account.events(invoice["id"], *kinds)}
    times = [told[kind]["created"] for kind in kinds[:3]]
    assert times == sorted(times)
    seen = [told[kind]["data"]["object"]["status"] for kind in kinds[:3]]
    assert (seen[0], seen[2]) == ("draft", "paid")
    last = told["invoice.paid"]["data"]["object"]
    assert (last["customer"], last["total"], last["amount_paid"]) == (customer["id"], 500, 500)
    assert last["attempt_count"] == invoice["attempt_count"] == 1


def test_a_failed_payment_counts_an_attempt_and_leaves_the_invoice_open_until_another_card_pays(
    account: Account, clock: Clock, paid: str
) -> None:
    """Within an invoice, paid wins over failed and a higher `attempt_count` over a lower, whatever comes first."""
    customer = clock.customer()
    trial = clock.trial(customer, paid, 5, default_payment_method=clock.card(customer, "pm_card_chargeCustomerFail"))
    clock.advance(days=6)
    now = reread(account, trial, "latest_invoice")
    invoice = now["latest_invoice"]
    assert (now["status"], invoice["status"], invoice["attempt_count"]) == ("past_due", "open", 1)
    failed = account.event(invoice["id"], "invoice.payment_failed")["data"]["object"]
    assert (failed["status"], failed["attempt_count"]) == ("open", 1)
    account.post(f"/v1/invoices/{invoice['id']}/pay", {"payment_method": clock.card(customer)})
    healed = account.eventually("it is active", lambda: _active(account, trial))
    assert healed["latest_invoice"]["status"] == "paid"
    assert account.event(invoice["id"], "invoice.paid")["data"]["object"]["attempt_count"] >= 1


def test_an_invoice_that_is_voided_or_given_up_says_so(account: Account, clock: Clock, paid: str) -> None:
    """Both clear the failing state."""
    ways = (("void", "void", "invoice.voided"), ("mark_uncollectible", "uncollectible", "invoice.marked_uncollectible"))
    trials = []
    for _ in ways:
        customer = clock.customer()
        card = clock.card(customer, "pm_card_chargeCustomerFail")
        trials.append(clock.trial(customer, paid, 5, default_payment_method=card))
    clock.advance(days=6)
    for trial, (verb, status, kind) in zip(trials, ways, strict=True):
        invoice = reread(account, trial)["latest_invoice"]
        assert account.post(f"/v1/invoices/{invoice}/{verb}")["status"] == status
        assert account.event(invoice, kind)["data"]["object"]["status"] == status


def _active(account: Account, trial: dict[str, Any]) -> dict[str, Any] | None:
    now = reread(account, trial, "latest_invoice")
    return now if now["status"] == "active" else None

"""What time does to subscriptions: a trial nears its end, ends, a cancellation falls due.

Applied before a request reads anything, with the time at which it fell due, so that no timer has to run.
"""

from __future__ import annotations

from worker.sandbox.stripe.invoices import invoice
from worker.sandbox.stripe.ledger import Ledger, Transaction
from worker.sandbox.stripe.objects import Obj
from worker.sandbox.stripe.subscriptions import NOTICE, end_now, next_period


def settle(ledger: Ledger, now: int) -> None:
    """Applies all that fell due up to `now`, in order."""
    for when, identifier in ledger.due(now):
        sub = ledger.tables["subscription"].live(identifier)
        if sub is not None and sub["ended_at"] is None:
            tx = Transaction(now, ledger.ids)
            _fall_due(tx, ledger, sub, when)
            ledger.commit(tx)


def _fall_due(tx: Transaction, ledger: Ledger, sub: Obj, when: int) -> None:
    if sub["cancel_at"] is not None and sub["cancel_at"] <= when:
        end_now(tx, sub, at=when)
    elif sub["status"] == "trialing" and sub["trial_end"] <= when:
        _end_trial(tx, ledger, sub, when)
    elif sub["status"] == "trialing" and sub["trial_end"] - when == NOTICE:
        tx.emit("customer.subscription.trial_will_end", sub, at=when)


def _end_trial(tx: Transaction, ledger: Ledger, sub: Obj, when: int) -> None:
    """Nobody has a payment method here, so `trial_settings` decides."""
    behavior = sub["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "cancel":
        end_now(tx, sub, at=when)
        return
    after = {**sub, "status": "paused"} if behavior == "pause" else start_period(tx, ledger, sub, when)
    tx.put(after)
    if behavior == "pause":
        tx.emit("customer.subscription.paused", after, sub, at=when)
    tx.emit("customer.subscription.updated", after, sub, at=when)


def start_period(tx: Transaction, ledger: Ledger, sub: Obj, when: int) -> Obj:
    """`sub` active, its items in a new period from `when`, with that period's invoice (free ones are paid)."""
    items = [
        {**item, "current_period_start": when, "current_period_end": next_period(when, item["price"])}
        for item in sub["items"]["data"]
    ]
    active = {**sub, "status": "active", "items": {**sub["items"], "data": items}}
    customer = ledger.tables["customer"].rows[sub["customer"]]
    bill = tx.put(invoice(tx.ids.long("in"), when, active, customer, reason="subscription_cycle", trial=False))
    tx.emit("invoice.created", bill, at=when)
    return {**active, "latest_invoice": bill["id"]}

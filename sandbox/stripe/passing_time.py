"""What time does to subscriptions: a trial nears its end, ends, a cancellation falls due.

Applied before a request reads anything, with the time at which it fell due, so that no timer has to run.
"""

from __future__ import annotations

from sandbox.stripe.invoices import invoice
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.objects import Obj
from sandbox.stripe.subscriptions import end_now, next_period
from sandbox.stripe.terms import NOTICE


def settle(ledger: Ledger, now: int) -> None:
    """Applies all that fell due up to `now`, one after the other, each at its own time."""
    while (entry := ledger.due(now)) is not None:
        when, identifier = entry
        sub = ledger.tables["subscription"].live(identifier)
        if sub is not None and sub["ended_at"] is None:
            tx = Transaction(when, ledger.ids)
            _fall_due(tx, ledger, sub)
            ledger.commit(tx)


def _fall_due(tx: Transaction, ledger: Ledger, sub: Obj) -> None:
    if sub["cancel_at"] is not None and sub["cancel_at"] <= tx.now:
        end_now(tx, sub)
    elif sub["status"] == "trialing" and sub["trial_end"] <= tx.now:
        _end_trial(tx, ledger, sub)
    elif sub["status"] == "trialing" and sub["trial_end"] - tx.now == NOTICE:
        tx.emit("customer.subscription.trial_will_end", sub)
    elif sub["status"] == "active" and sub["items"]["data"][0]["current_period_end"] <= tx.now:
        tx.emit("customer.subscription.updated", tx.put(start_period(tx, ledger, sub)), sub)


def _end_trial(tx: Transaction, ledger: Ledger, sub: Obj) -> None:
    """Nobody has a payment method here, so `trial_settings` decides."""
    behavior = sub["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "cancel":
        end_now(tx, sub)
        return
    after = tx.put({**sub, "status": "paused"} if behavior == "pause" else start_period(tx, ledger, sub))
    if behavior == "pause":
        tx.emit("customer.subscription.paused", after, sub)
    tx.emit("customer.subscription.updated", after, sub)


def start_period(tx: Transaction, ledger: Ledger, sub: Obj) -> Obj:
    """`sub` active, its items in a new period from now on, with that period's invoice.

    A free period's invoice is paid. Another's stays open and the subscription active: payments are not modelled.
    """
    items = [
        {**item, "current_period_start": tx.now, "current_period_end": next_period(tx.now, item["price"])}
        for item in sub["items"]["data"]
    ]
    active = {**sub, "status": "active", "items": {**sub["items"], "data": items}}
    customer = ledger.tables["customer"].rows[sub["customer"]]
    bill = tx.put(invoice(tx.ids.long("in"), tx.now, active, customer, reason="subscription_cycle", trial=False))
    tx.emit("invoice.created", bill)
    return {**active, "latest_invoice": bill["id"]}

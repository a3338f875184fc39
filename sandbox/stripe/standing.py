"""What becomes of a subscription when its invoice is paid, fails, falls due or is given up.

Source: the statuses in https://docs.stripe.com/billing/subscriptions/overview and the API's description of
`subscription.status`; the order of events in https://support.stripe.com/questions/what-events-can-i-see-when-a-subscription-is-renewed.
"""

from __future__ import annotations

from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lifecycle import end_unpaid, move
from sandbox.stripe.objects import Obj


def subscription_of(tx: Transaction, bill: Obj) -> Obj:
    return tx.get(bill["parent"]["subscription_details"]["subscription"])


def _latest(tx: Transaction, bill: Obj) -> Obj | None:
    """The invoice's subscription, if it lives and this is its latest invoice: only that one decides."""
    sub = subscription_of(tx, bill)
    return sub if sub["ended_at"] is None and sub["latest_invoice"] == bill["id"] else None


def after_payment(tx: Transaction, bill: Obj) -> None:
    """Paid, or given up in the customer's favor: active again."""
    sub = _latest(tx, bill)
    if sub is None:
        return
    if sub["status"] == "paused":
        unpause(tx, sub, bill, "active")
    elif sub["status"] in ("incomplete", "past_due", "unpaid"):
        move(tx, sub, status="active")


def after_failure(tx: Transaction, bill: Obj, then: str | None) -> None:
    """`then`: what the settings say once all attempts failed; None while there are more."""
    sub = subscription_of(tx, bill)
    if sub["ended_at"] is not None or sub["status"] == "incomplete":
        return
    if sub["status"] == "paused":
        unpause(tx, sub, bill, "past_due")
    elif then == "cancel":
        end_unpaid(tx, sub)
    elif sub["status"] != (wanted := then or "past_due"):
        move(tx, sub, status=wanted)


def after_void(tx: Transaction, bill: Obj) -> None:
    """A first invoice takes its subscription along; a paused subscription stays paused."""
    sub = _latest(tx, bill)
    if sub is None:
        return
    if sub["status"] == "incomplete":
        move(tx, sub, status="incomplete_expired", ended_at=tx.now)
    elif sub["status"] == "past_due":
        move(tx, sub, status="active")


def unpause(tx: Transaction, sub: Obj, bill: Obj, status: str) -> None:
    """A paused subscription goes on, in the period that its invoice is for."""
    periods = {
        line["parent"]["subscription_item_details"]["subscription_item"]: line["period"]
        for line in bill["lines"]["data"]
        if not line["parent"]["subscription_item_details"]["proration"]
    }
    items = [
        {**item, "current_period_start": periods[item["id"]]["start"], "current_period_end": periods[item["id"]]["end"]}
        if item["id"] in periods
        else item
        for item in sub["items"]["data"]
    ]
    after = tx.put({**sub, "status": status, "items": {**sub["items"], "data": items}})
    tx.emit("customer.subscription.resumed", after)
    tx.emit("customer.subscription.updated", after, tx.ledger.find(sub["id"]))


def set_delinquent(tx: Transaction, customer: str, *, delinquent: bool) -> None:
    """A customer is delinquent from a failed or overdue payment to the next that is made."""
    before = tx.find(customer)
    if before is not None and before["delinquent"] != delinquent:
        tx.emit("customer.updated", tx.put({**before, "delinquent": delinquent}), before)

"""A subscription's next period, with its invoice: at a renewal, at a trial's end, and when a change asks for it."""

from __future__ import annotations

from sandbox.stripe import collection, standing
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lifecycle import method_of, with_period
from sandbox.stripe.objects import Obj


def renew(tx: Transaction, before: Obj) -> None:
    """The next period; its invoice is a draft for an hour."""
    _begin(tx, before, before, reason="subscription_cycle", waits=True)


def start_now(tx: Transaction, before: Obj, sub: Obj, *, reason: str, pays: bool) -> Obj:
    """`sub` in a new period from now on, invoiced and (if it `pays`) collected at once."""
    bill = _begin(tx, before, {**sub, "billing_cycle_anchor": tx.now}, reason=reason, waits=False)
    return _collected_now(tx, sub, bill, pays=pays)


def bill_now(tx: Transaction, before: Obj, sub: Obj, *, pays: bool) -> Obj:
    """`sub` in the period that it is in, with an invoice of what waits, collected at once (if it `pays`)."""
    sent = sub["collection_method"] == "send_invoice"
    bill = collection.draft(tx, sub, reason="subscription_update", waits=sent, period=False)
    after = tx.put({**sub, "latest_invoice": bill["id"]})
    tx.emit("invoice.created", bill)
    tx.emit("customer.subscription.updated", after, before)
    return _collected_now(tx, sub, bill, pays=pays)


def _collected_now(tx: Transaction, sub: Obj, bill: Obj, *, pays: bool) -> Obj:
    if bill["collection_method"] == "charge_automatically":
        opened = collection.finalize(tx, bill)
        if opened["status"] == "open" and pays:
            collection.collect(tx, opened, automatic=True)
        elif opened["status"] == "open":
            standing.after_failure(tx, opened, None)
    return tx.get(sub["id"])


def _begin(tx: Transaction, before: Obj, sub: Obj, *, reason: str, waits: bool) -> Obj:
    status = "active" if sub["status"] == "trialing" else sub["status"]
    sub = with_period({**sub, "status": status}, tx.now)
    sent = sub["collection_method"] == "send_invoice"
    bill = collection.draft(tx, sub, reason=reason, waits=waits or sent)
    after = tx.put({**sub, "latest_invoice": bill["id"]})
    tx.emit("invoice.created", bill)
    tx.emit("customer.subscription.updated", after, before)
    return bill


def resume(tx: Transaction, before: Obj) -> Obj:
    """A paused subscription's next period: free or paid it goes on; declined it is past due; without a card it waits.

    Its invoice then stays open for 23 hours and the subscription paused (https://docs.stripe.com/api/subscriptions/resume).
    """
    sub = with_period({**before, "billing_cycle_anchor": tx.now}, tx.now)
    bill = collection.draft(tx, sub, reason="subscription_update", waits=False)
    tx.put({**before, "billing_cycle_anchor": tx.now, "latest_invoice": bill["id"]})
    tx.emit("invoice.created", bill)
    opened = collection.finalize(tx, bill)
    if opened["status"] == "open":
        if method_of(tx, before) is None:
            tx.emit("customer.subscription.updated", tx.get(before["id"]), before)
        else:
            collection.collect(tx, opened, automatic=True)
    return tx.get(before["id"])

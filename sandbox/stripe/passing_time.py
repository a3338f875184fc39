"""What time does: trials near their end and end, periods end, drafts are finalized, payments are tried again.

Applied before a request reads anything, with the time at which it fell due, so that no timer has to run.
"""

from __future__ import annotations

from sandbox.stripe import collection, periods, standing
from sandbox.stripe.agenda import FIRST_PAYMENT, NOTICE, Due
from sandbox.stripe.checkout import sessions
from sandbox.stripe.clock_endpoints import remove
from sandbox.stripe.kinds import CLOCK
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.lifecycle import end_now, method_of, move
from sandbox.stripe.objects import Obj

_RENEWED = ("active", "past_due", "unpaid")


def settle(ledger: Ledger, now: int) -> None:
    """Applies all that fell due up to `now`, one after the other, each at its own time."""
    while (entry := ledger.agenda.take(None, now)) is not None:
        apply(Transaction(ledger, entry[0], entry[0], due=entry), entry)


def apply(tx: Transaction, entry: Due) -> None:
    """Does what fell due, if it still is."""
    obj = tx.find(entry[1])
    if obj is not None and obj["object"] == "subscription" and obj["ended_at"] is None:
        _subscription(tx, obj)
    elif obj is not None and obj["object"] == "invoice":
        _invoice(tx, obj)
    elif obj is not None and obj["object"] == sessions.KIND and obj["status"] == "open":
        sessions.expire_now(tx, obj)
    elif obj is not None and obj["object"] == CLOCK:
        remove(tx, obj)
    tx.ledger.commit(tx)


def _subscription(tx: Transaction, sub: Obj) -> None:
    if sub["cancel_at"] is not None and sub["cancel_at"] <= tx.now:
        end_now(tx, sub)
        return
    pause = sub["pause_collection"]
    if pause is not None and pause["resumes_at"] is not None and pause["resumes_at"] <= tx.now:
        sub = move(tx, sub, pause_collection=None)
    if sub["status"] == "trialing" and sub["trial_end"] <= tx.now:
        _end_trial(tx, sub)
    elif sub["status"] == "trialing" and sub["trial_end"] - tx.now == NOTICE:
        tx.emit("customer.subscription.trial_will_end", sub)
    elif sub["status"] == "incomplete" and sub["created"] + FIRST_PAYMENT <= tx.now:
        collection.void(tx, tx.get(sub["latest_invoice"]))
    elif sub["status"] in _RENEWED and sub["items"]["data"][0]["current_period_end"] <= tx.now:
        periods.renew(tx, sub)


def _end_trial(tx: Transaction, sub: Obj) -> None:
    """With a card it goes on, without one `trial_settings` decides."""
    behavior = sub["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "create_invoice" or sub["collection_method"] == "send_invoice" or method_of(tx, sub) is not None:
        periods.renew(tx, sub)
    elif behavior == "cancel":
        end_now(tx, sub)
    else:
        after = tx.put({**sub, "status": "paused"})
        tx.emit("customer.subscription.paused", after)
        tx.emit("customer.subscription.updated", after, sub)


def _invoice(tx: Transaction, bill: Obj) -> None:
    sub = standing.subscription_of(tx, bill)
    if bill["status"] == "draft" and bill["automatically_finalizes_at"] is not None:
        if sub["ended_at"] is not None:
            collection.stop(tx, bill)
        elif bill["automatically_finalizes_at"] <= tx.now:
            collection.advance(tx, bill)
    elif bill["status"] == "open":
        _open_invoice(tx, bill, sub)


def _open_invoice(tx: Transaction, bill: Obj, sub: Obj) -> None:
    attempt, due = bill["next_payment_attempt"], bill["due_date"]
    finalized = bill["status_transitions"]["finalized_at"]
    if sub["status"] == "paused" and sub["latest_invoice"] == bill["id"] and finalized + FIRST_PAYMENT <= tx.now:
        collection.void(tx, bill)
    elif attempt is not None and attempt <= tx.now:
        if sub["ended_at"] is not None:
            collection.stop(tx, bill)
        else:
            collection.collect(tx, bill, automatic=True)
    elif due == tx.now:
        collection.overdue(tx, bill)

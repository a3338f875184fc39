"""A subscription's periods and its end, and which card pays for it: what requests and time both work with."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

from sandbox.stripe import objects
from sandbox.stripe.agenda import DAY
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.objects import Obj

TERMINAL = {"canceled", "incomplete_expired"}
_DAYS = {"day": 1, "week": 7}


def next_period(start: int, price: Obj, anchor: int | None = None) -> int:
    """The end of a period that starts at `start`: the same time of day (UTC), on the anchor's day or a month's last."""
    interval, count = price["recurring"]["interval"], int(price["recurring"]["interval_count"])
    if interval in _DAYS:
        return start + _DAYS[interval] * count * DAY
    begin = datetime.fromtimestamp(start, UTC)
    months = begin.month - 1 + count * (12 if interval == "year" else 1)
    year, month = begin.year + months // 12, months % 12 + 1
    wanted = begin.day if anchor is None else datetime.fromtimestamp(anchor, UTC).day
    day = min(wanted, monthrange(year, month)[1])
    return int(begin.replace(year=year, month=month, day=day).timestamp())


def with_period(sub: Obj, start: int) -> Obj:
    """`sub`, its items in a new period from `start` on."""
    anchor = sub["billing_cycle_anchor"]
    items = [
        {**item, "current_period_start": start, "current_period_end": next_period(start, item["price"], anchor)}
        for item in sub["items"]["data"]
    ]
    return {**sub, "items": {**sub["items"], "data": items}}


def end_now(tx: Transaction, sub: Obj) -> Obj:
    """Cancels `sub` as of the transaction's time."""
    ended = tx.put({**sub, "status": "canceled", "canceled_at": sub["canceled_at"] or tx.now, "ended_at": tx.now})
    tx.emit("customer.subscription.deleted", ended)
    return ended


def end_unpaid(tx: Transaction, sub: Obj) -> Obj:
    """Cancels `sub` because nobody paid."""
    return end_now(tx, {**sub, "cancellation_details": objects.cancellation("payment_failed")})


def move(tx: Transaction, before: Obj, **fields: object) -> Obj:
    """Changes a subscription and says so."""
    after = tx.put({**before, **fields})
    tx.emit("customer.subscription.updated", after, before)
    return after


def method_of(tx: Transaction, sub: Obj, bill: Obj | None = None) -> Obj | None:
    """The card that pays: the invoice's, else the subscription's, else the customer's default; None without one.

    A card that is attached and nobody's default pays nothing.
    """
    customer = tx.get(sub["customer"])
    named = (
        None if bill is None else bill["default_payment_method"],
        sub["default_payment_method"],
        customer["invoice_settings"]["default_payment_method"],
    )
    found = next((name for name in named if name is not None), None)
    return None if found is None else tx.find(found)

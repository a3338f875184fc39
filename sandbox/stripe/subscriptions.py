"""/v1/subscriptions: create, retrieve, list, cancel; `changes.py` updates, `passing_time.py` ends trials."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, no_such, refused
from sandbox.stripe.invoices import amount_of, invoice
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import (
    Spec,
    boolean,
    choice,
    integer,
    list_of,
    merged,
    metadata,
    text,
)
from sandbox.stripe.prices import usable_price
from sandbox.stripe.terms import DAY, DETAILS, KEPT, NOTICE, SHARED, cancel_fields, trial_end_of

TERMINAL = {"canceled", "incomplete_expired"}
_STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")
_DAYS = {"day": 1, "week": 7}
_ITEM = Spec({"price": text(), "quantity": integer(0), "metadata": metadata}, required=("price",))
CREATE = Spec(
    {
        **SHARED,
        "billing_mode": Spec({"type": choice("classic", "flexible")}, required=("type",)),
        "currency": text(3),
        "customer": text(),
        "items": list_of(_ITEM, limit=20),
        "trial_period_days": integer(1, 730),
    },
    required=("customer", "items"),
)
LIST = list_spec(
    {
        "collection_method": choice("charge_automatically", "send_invoice"),
        "customer": text(),
        "price": text(),
        "status": choice("all", "ended", *_STATUSES),
    }
)
CANCEL = Spec({"cancellation_details": DETAILS, "invoice_now": boolean, "prorate": boolean, "expand": EXPAND})


def create(ctx: Context) -> Obj:
    """A subscription with its first invoice: $0 and paid when it starts with a trial."""
    if not ctx.params["items"]:
        raise invalid("Missing required param: items.", param="items", code="parameter_missing")
    customer = alive(ctx, "customer", ctx.params["customer"], "customer")
    prices = [usable_price(ctx, item["price"], f"items[{n}][price]") for n, item in enumerate(ctx.params["items"])]
    _same_currency(prices, str(ctx.params.get("currency") or prices[0]["currency"]))
    trial_end = trial_end_of(ctx)
    sub = _assemble(ctx, customer, prices, trial_end)
    bill = invoice(
        ctx.tx.ids.long("in"), ctx.now, sub, customer, reason="subscription_create", trial=trial_end is not None
    )
    sub = ctx.tx.put({**sub, "latest_invoice": bill["id"]})
    ctx.tx.put(bill)
    ctx.tx.emit("customer.subscription.created", sub)
    announce_short_trial(ctx, sub)
    ctx.tx.emit("invoice.created", bill)
    if bill["status"] == "paid":
        ctx.tx.emit("invoice.paid", bill)
    return sub


def _same_currency(prices: list[Obj], currency: str) -> None:
    if {price["currency"] for price in prices} != {currency}:
        message = "The prices of a subscription must all have its currency; these have another, or several."
        raise refused(message, param="currency")


def announce_short_trial(ctx: Context, sub: Obj) -> None:
    """A trial of three days or less is said to end as soon as it is known; a longer one three days ahead."""
    if sub["status"] == "trialing" and sub["trial_end"] - ctx.now <= NOTICE:
        ctx.tx.emit("customer.subscription.trial_will_end", sub)


def _assemble(ctx: Context, customer: Obj, prices: list[Obj], trial_end: int | None) -> Obj:
    identifier = ctx.tx.ids.long("sub")
    period = (ctx.now, trial_end or next_period(ctx.now, prices[0]))
    items = [
        new_item(ctx, identifier, price, sent, period) for price, sent in zip(prices, ctx.params["items"], strict=True)
    ]
    status = "trialing" if trial_end else _first_status(ctx, items)
    fields = {
        **ctx.fields(*KEPT),
        **cancel_fields(ctx, period[1]),
        "billing_cycle_anchor": trial_end or ctx.now,
        "billing_mode": objects.billing_mode(ctx.params.get("billing_mode", {}).get("type", "flexible")),
        "currency": prices[0]["currency"],
        "customer": customer["id"],
        "items": objects.listing(f"/v1/subscription_items?subscription={identifier}", items, has_more=False),
        "metadata": merged({}, ctx.params.get("metadata", {})),
        "status": status,
        "trial_end": trial_end,
        "trial_start": ctx.now if trial_end else None,
    }
    return objects.subscription(identifier, ctx.now, fields)


def new_item(ctx: Context, owner: str, price: Obj, sent: Mapping[str, Any], period: tuple[int, int]) -> Obj:
    return objects.subscription_item(
        ctx.tx.ids.short("si"),
        ctx.now,
        owner=owner,
        price_=price,
        quantity=sent.get("quantity", 1),
        metadata=merged({}, sent.get("metadata", {})),
        period=period,
    )


def next_period(start: int, price: Obj) -> int:
    """The end of a period that starts at `start`: the same time of day (UTC), at latest on the month's last day."""
    interval, count = price["recurring"]["interval"], int(price["recurring"]["interval_count"])
    if interval in _DAYS:
        return start + _DAYS[interval] * count * DAY
    begin = datetime.fromtimestamp(start, UTC)
    months = begin.month - 1 + count * (12 if interval == "year" else 1)
    year, month = begin.year + months // 12, months % 12 + 1
    day = min(begin.day, monthrange(year, month)[1])
    return int(begin.replace(year=year, month=month, day=day).timestamp())


def _first_status(ctx: Context, items: list[Obj]) -> str:
    """Without a trial: free is active, the rest has no payment method to pay with."""
    if amount_of(items) == 0 or ctx.params.get("collection_method") == "send_invoice":
        return "active"
    if ctx.params.get("payment_behavior") == "default_incomplete":
        return "incomplete"
    message = "This customer has no attached payment source or default payment method."
    raise refused(message, code="resource_missing")


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "subscription", ctx.identifier)


def cancel(ctx: Context) -> Obj:
    """Ends the subscription at once; one that has ended is no longer found (404)."""
    sub = alive(ctx, "subscription", ctx.identifier)
    if sub["status"] in TERMINAL:
        raise no_such("subscription", ctx.identifier)
    details = ctx.params.get("cancellation_details", {})
    return end_now(ctx.tx, {**sub, "cancellation_details": objects.cancellation("cancellation_requested", **details)})


def end_now(tx: Transaction, sub: Obj) -> Obj:
    """Cancels `sub` as of the transaction's time."""
    ended = tx.put({**sub, "status": "canceled", "canceled_at": sub["canceled_at"] or tx.now, "ended_at": tx.now})
    tx.emit("customer.subscription.deleted", ended)
    return ended


def list_all(ctx: Context) -> Obj:
    """Without `status`: all that are not canceled. `ended`: canceled and incomplete_expired."""
    status, price = ctx.params.get("status"), ctx.params.get("price")
    if "customer" in ctx.params and ctx.params["customer"] not in ctx.ledger.tables["customer"].rows:
        raise no_such("customer", ctx.params["customer"], "customer")
    wanted = {None: set(_STATUSES) - {"canceled"}, "all": set(_STATUSES), "ended": TERMINAL}.get(status, {status})
    method = ctx.fields("collection_method")

    def keep(sub: Obj) -> bool:
        priced = price is None or any(item["price"]["id"] == price for item in sub["items"]["data"])
        return priced and sub["status"] in wanted and method.items() <= sub.items()

    return answer_list(ctx, "subscription", where=ctx.fields("customer"), keep=keep)


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "subscription")

"""/v1/subscriptions: create, retrieve, list, cancel; `changes.py` updates, `passing_time.py` ends trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.sandbox.stripe import objects
from worker.sandbox.stripe.call import Context
from worker.sandbox.stripe.catalog import usable_price
from worker.sandbox.stripe.errors import invalid, no_such, refused
from worker.sandbox.stripe.invoices import amount_of, invoice
from worker.sandbox.stripe.ledger import Transaction
from worker.sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from worker.sandbox.stripe.objects import Obj
from worker.sandbox.stripe.params import (
    Check,
    Spec,
    boolean,
    choice,
    clearable,
    integer,
    list_of,
    merged,
    metadata,
    now_or,
    text,
    timestamp,
)

DAY = 86_400
MAX_TRIAL = 730 * DAY
NOTICE = 3 * DAY
TERMINAL = {"canceled", "incomplete_expired"}
_STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")
_INTERVALS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY}

_END = Spec(
    {"missing_payment_method": choice("cancel", "create_invoice", "pause")}, required=("missing_payment_method",)
)
DETAILS = Spec({"comment": clearable(text()), "feedback": clearable(text())})
SHARED: dict[str, Check] = {
    "cancel_at": clearable(timestamp),
    "cancel_at_period_end": boolean,
    "collection_method": choice("charge_automatically", "send_invoice"),
    "days_until_due": integer(0),
    "description": clearable(text(500)),
    "expand": EXPAND,
    "metadata": metadata,
    "off_session": boolean,
    "payment_behavior": choice(
        "allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"
    ),
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
    "trial_end": now_or(timestamp),
    "trial_settings": Spec({"end_behavior": _END}, required=("end_behavior",)),
}
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
KEPT = ("cancel_at_period_end", "collection_method", "days_until_due", "description", "trial_settings")


def create(ctx: Context) -> Obj:
    """A subscription with its first invoice: $0 and paid when it starts with a trial."""
    if not ctx.params["items"]:
        raise invalid("Missing required param: items.", param="items", code="parameter_missing")
    customer = alive(ctx, "customer", ctx.params["customer"], "customer")
    prices = [usable_price(ctx, item["price"], f"items[{n}][price]") for n, item in enumerate(ctx.params["items"])]
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


def announce_short_trial(ctx: Context, sub: Obj) -> None:
    """A trial of three days or less is said to end as soon as it is known; a longer one three days ahead."""
    if sub["status"] == "trialing" and sub["trial_end"] - ctx.now <= NOTICE:
        ctx.tx.emit("customer.subscription.trial_will_end", sub)


def trial_end_of(ctx: Context) -> int | None:
    """When the trial that was asked for ends: after now, within two years (400, param `trial_end`)."""
    sent = ctx.params.get("trial_end")
    if sent is None and "trial_period_days" in ctx.params:
        sent = ctx.now + ctx.params["trial_period_days"] * DAY
    if sent is None or sent == "now":
        return None
    if sent <= ctx.now:
        raise refused("Invalid timestamp: must be an integer Unix timestamp in the future.", param="trial_end")
    if sent > ctx.now + MAX_TRIAL:
        raise refused("Invalid timestamp: can be no more than two years in the future.", param="trial_end")
    return int(sent)


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
    """The end of a period that starts at `start`; a month counts 30 days here, which no caller may rely on."""
    recurring = price["recurring"]
    return int(start + _INTERVALS[recurring["interval"]] * recurring["interval_count"])


def _first_status(ctx: Context, items: list[Obj]) -> str:
    """Without a trial: free is active, the rest has no payment method to pay with."""
    if amount_of(items) == 0 or ctx.params.get("collection_method") == "send_invoice":
        return "active"
    if ctx.params.get("payment_behavior") == "default_incomplete":
        return "incomplete"
    message = "This customer has no attached payment source or default payment method."
    raise refused(message, code="resource_missing")


def cancel_fields(ctx: Context, period_end: int) -> dict[str, Any]:
    """What `cancel_at` and `cancel_at_period_end` mean for the subscription."""
    if ctx.params.get("cancel_at_period_end"):
        return {"cancel_at": period_end, "canceled_at": ctx.now, **_requested()}
    if "cancel_at" in ctx.params:
        when = ctx.params["cancel_at"]
        if when is not None and when <= ctx.now:
            raise refused("Invalid timestamp: must be an integer Unix timestamp in the future.", param="cancel_at")
        return {"cancel_at": when, "canceled_at": ctx.now if when else None}
    if "cancel_at_period_end" in ctx.params:
        return {"cancel_at": None, "canceled_at": None, "cancellation_details": objects.cancellation()}
    return {}


def _requested() -> dict[str, Any]:
    return {"cancellation_details": objects.cancellation("cancellation_requested")}


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "subscription", ctx.identifier)


def cancel(ctx: Context) -> Obj:
    """Ends the subscription at once; one that has ended is no longer found (404)."""
    sub = alive(ctx, "subscription", ctx.identifier)
    if sub["status"] in TERMINAL:
        raise no_such("subscription", ctx.identifier)
    details = ctx.params.get("cancellation_details", {})
    return end_now(ctx.tx, {**sub, "cancellation_details": objects.cancellation("cancellation_requested", **details)})


def end_now(tx: Transaction, sub: Obj, at: int | None = None) -> Obj:
    """Cancels `sub` as of `at` (default: now)."""
    when = tx.now if at is None else at
    ended = tx.put({**sub, "status": "canceled", "canceled_at": sub["canceled_at"] or when, "ended_at": when})
    tx.emit("customer.subscription.deleted", ended, at=when)
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

"""/v1/subscriptions: create, retrieve, list, cancel; `changes.py` updates, `passing_time.py` ends trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe import cards, collection, objects
from sandbox.stripe.agenda import NOTICE
from sandbox.stripe.call import Context
from sandbox.stripe.charging import charging
from sandbox.stripe.errors import ApiError, invalid, no_such, refused
from sandbox.stripe.invoices import amount_of
from sandbox.stripe.ledger import SUBSCRIPTIONS_PER_CUSTOMER
from sandbox.stripe.lifecycle import TERMINAL, end_now, method_of, next_period
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
from sandbox.stripe.setup_intents import new_intent
from sandbox.stripe.terms import DETAILS, KEPT, SHARED, cancel_fields, card_fields, trial_end_of

_STATUSES = ("active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid")
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
        "test_clock": text(),
    }
)
CANCEL = Spec({"cancellation_details": DETAILS, "invoice_now": boolean, "prorate": boolean, "expand": EXPAND})


def create(ctx: Context) -> Obj:
    """A subscription with its first invoice: finalized at once, $0 when it starts with a trial."""
    if not ctx.params["items"]:
        raise invalid("Missing required param: items.", param="items", code="parameter_missing")
    customer = alive(ctx, "customer", ctx.params["customer"], "customer")
    _check_room(ctx, customer)
    prices = [usable_price(ctx, item["price"], f"items[{n}][price]") for n, item in enumerate(ctx.params["items"])]
    _same_currency(prices, str(ctx.params.get("currency") or prices[0]["currency"]))
    trial_end = trial_end_of(ctx)
    sub = _assemble(ctx, customer, prices, trial_end)
    sent = sub["collection_method"] == "send_invoice" and trial_end is None
    bill = collection.draft(ctx.tx, sub, reason="subscription_create", trial=trial_end is not None, waits=sent)
    sub = ctx.tx.put({**sub, "latest_invoice": bill["id"]})
    ctx.tx.emit("customer.subscription.created", sub)
    announce_short_trial(ctx, sub)
    ctx.tx.emit("invoice.created", bill)
    if not sent:
        opened = collection.finalize(ctx.tx, bill)
        if opened["status"] == "open" and ctx.params.get("payment_behavior") != "default_incomplete":
            collection.collect(ctx.tx, opened, automatic=True)
    return ctx.tx.get(sub["id"])


def _check_room(ctx: Context, customer: Obj) -> None:
    if customer["test_clock"] is None or ctx.ledger.unlimited_test_clocks:
        return
    subs = ctx.ledger.tables["subscription"].by("customer", customer["id"])
    if sum(sub["ended_at"] is None for sub in subs) >= SUBSCRIPTIONS_PER_CUSTOMER:
        message = f"A customer on a test clock can have up to {SUBSCRIPTIONS_PER_CUSTOMER} subscriptions."
        raise refused(message, param="customer")


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
    fields = {
        **ctx.fields(*KEPT),
        **cancel_fields(ctx, period[1]),
        "billing_cycle_anchor": trial_end or ctx.now,
        "billing_mode": objects.billing_mode(ctx.params.get("billing_mode", {}).get("type", "flexible")),
        "currency": prices[0]["currency"],
        "customer": customer["id"],
        "items": objects.listing(f"/v1/subscription_items?subscription={identifier}", items, has_more=False),
        "metadata": merged({}, ctx.params.get("metadata", {})),
        "status": "trialing",
        "test_clock": customer["test_clock"],
        "trial_end": trial_end,
        "trial_start": ctx.now if trial_end else None,
    }
    sub = objects.subscription(identifier, ctx.now, fields)
    sub |= card_fields(ctx, sub)
    status = "trialing" if trial_end else _first_status(ctx, sub)
    return {**sub, "status": status, "pending_setup_intent": _pending_setup(ctx, sub, status)}


def _pending_setup(ctx: Context, sub: Obj, status: str) -> str | None:
    """An intent to collect a card by, where `default_incomplete` asks for one and nothing is to be paid yet."""
    asked = ctx.params.get("payment_behavior") == "default_incomplete"
    if not asked or status == "incomplete" or method_of(ctx.tx, sub) is not None:
        return None
    return str(new_intent(ctx.tx, {"customer": sub["customer"]})["id"])


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


def _first_status(ctx: Context, sub: Obj) -> str:
    """Without a trial: free and invoiced are active, the rest if its card pays."""
    behavior = ctx.params.get("payment_behavior")
    if behavior == "pending_if_incomplete":
        raise refused("payment_behavior=pending_if_incomplete is for updates only.", param="payment_behavior")
    if sub["collection_method"] == "send_invoice":
        if sub["days_until_due"] is None:
            message = "You must pass `days_until_due` when `collection_method` is set to `send_invoice`."
            raise refused(message, param="days_until_due")
        return "active"
    if amount_of(sub["items"]["data"]) == 0:
        return "active"
    if behavior == "default_incomplete":
        return "incomplete"
    method = method_of(ctx.tx, sub)
    if method is None:
        raise no_card()
    outcome = charging(ctx.tx, method)
    if outcome != "paid" and behavior == "error_if_incomplete":
        raise cards.unpaid(outcome, method, "subscription")
    return "active" if outcome == "paid" else "incomplete"


def no_card() -> ApiError:
    message = "This customer has no attached payment source or default payment method."
    return refused(message, code="resource_missing")


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "subscription", ctx.identifier)


def cancel(ctx: Context) -> Obj:
    """Ends the subscription at once; one that has ended is no longer found (404)."""
    sub = alive(ctx, "subscription", ctx.identifier)
    if sub["status"] in TERMINAL:
        raise no_such("subscription", ctx.identifier)
    details = ctx.params.get("cancellation_details", {})
    return end_now(ctx.tx, {**sub, "cancellation_details": objects.cancellation("cancellation_requested", **details)})


def list_all(ctx: Context) -> Obj:
    """Without `status`: all that are not canceled. `ended`: canceled and incomplete_expired.

    Without `test_clock` and `customer`: those that are on no test clock.
    """
    status, price = ctx.params.get("status"), ctx.params.get("price")
    if "customer" in ctx.params and ctx.params["customer"] not in ctx.ledger.tables["customer"].rows:
        raise no_such("customer", ctx.params["customer"], "customer")
    wanted = {None: set(_STATUSES) - {"canceled"}, "all": set(_STATUSES), "ended": TERMINAL}.get(status, {status})
    method = ctx.fields("collection_method")
    if "customer" not in ctx.params and "test_clock" not in ctx.params:
        method["test_clock"] = None

    def keep(sub: Obj) -> bool:
        priced = price is None or any(item["price"]["id"] == price for item in sub["items"]["data"])
        return priced and sub["status"] in wanted and method.items() <= sub.items()

    return answer_list(ctx, "subscription", where=ctx.fields("customer", "test_clock"), keep=keep)


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "subscription")

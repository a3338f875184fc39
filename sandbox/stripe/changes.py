"""Updates of a subscription (`POST /v1/subscriptions/{id}`) and its resumption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.stripe import cards, periods, prorations
from sandbox.stripe.call import Context
from sandbox.stripe.charging import charging
from sandbox.stripe.errors import ApiError, no_such, refused, unsupported
from sandbox.stripe.invoices import amount_of
from sandbox.stripe.lifecycle import TERMINAL, method_of
from sandbox.stripe.lists import EXPAND, alive
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import (
    Spec,
    boolean,
    choice,
    clearable,
    integer,
    list_of,
    merged,
    metadata,
    text,
    timestamp,
)
from sandbox.stripe.prices import usable_price
from sandbox.stripe.subscriptions import announce_short_trial, new_item, no_card
from sandbox.stripe.terms import DETAILS, KEPT, SHARED, cancel_fields, card_fields, trial_end_of

_ITEM = Spec({"id": text(), "price": text(), "quantity": integer(0), "deleted": boolean, "metadata": metadata})
_PAUSE = Spec(
    {"behavior": choice("keep_as_draft", "mark_uncollectible", "void"), "resumes_at": clearable(timestamp)},
    required=("behavior",),
)
UPDATE = Spec(
    {
        **SHARED,
        "cancellation_details": DETAILS,
        "items": list_of(_ITEM, limit=20),
        "pause_collection": clearable(_PAUSE),
    }
)
RESUME = Spec({"billing_cycle_anchor": choice("now", "unchanged"), "expand": EXPAND})
_AFTER_THE_END = {"metadata", "cancellation_details", "expand"}


def update(ctx: Context) -> Obj:
    before = alive(ctx, "subscription", ctx.identifier)
    if before["status"] in TERMINAL and not ctx.params.keys() <= _AFTER_THE_END:
        raise refused("A canceled subscription can only update its cancellation_details and metadata.")
    sub = {**before, **ctx.fields(*KEPT), **_changed(ctx, before), **card_fields(ctx, before)}
    sub = _with_items(ctx, sub)
    if ctx.params.get("trial_end") == "now" and before["status"] == "trialing":
        return _bill_now(ctx, before, {**sub, "trial_end": ctx.now}, "subscription_cycle")
    if "trial_end" in ctx.params:
        sub = _with_trial(ctx, sub)
    rebills, behavior = _rebills(before, sub), ctx.params.get("proration_behavior", "create_prorations")
    prorated = behavior != "none" and "trial_end" not in ctx.params
    added = prorations.prorations(ctx.tx, before, sub, whole=rebills) if prorated else []
    if rebills or (added and behavior == "always_invoice"):
        return _bill_now(ctx, before, sub, "subscription_update", added, period=rebills)
    prorations.record(ctx.tx, added)
    ctx.tx.put(sub)
    ctx.tx.emit("customer.subscription.updated", sub, before)
    if "trial_end" in ctx.params:
        announce_short_trial(ctx, sub)
    return sub


def _rebills(before: Obj, after: Obj) -> bool:
    """From free to paid or back, and to another interval, a new period begins at once; otherwise with the next one.

    Source: https://docs.stripe.com/billing/subscriptions/change-price.
    """
    if after["status"] not in ("active", "past_due"):
        return False
    old, new = before["items"]["data"], after["items"]["data"]
    intervals = [
        [(item["price"]["recurring"]["interval"], item["price"]["recurring"]["interval_count"]) for item in items[:1]]
        for items in (old, new)
    ]
    return (amount_of(old) == 0) != (amount_of(new) == 0) or intervals[0] != intervals[1]


def _bill_now(
    ctx: Context, before: Obj, sub: Obj, reason: str, added: Sequence[Obj] = (), *, period: bool = True
) -> Obj:
    """A new period, or what was `added` to the old one, paid for as `payment_behavior` says."""
    behavior = ctx.params.get("payment_behavior", "allow_incomplete")
    amounts = [item["amount"] for item in (*prorations.waiting(ctx.tx, sub), *added)]
    amount = prorations.due(ctx.tx, sub, sum(amounts) + (amount_of(sub["items"]["data"]) if period else 0))
    charged = sub["collection_method"] == "charge_automatically" and amount > 0
    if charged and behavior in ("error_if_incomplete", "pending_if_incomplete"):
        method = method_of(ctx.tx, sub)
        if method is None:
            raise no_card()
        outcome = charging(ctx.tx, method)
        if outcome != "paid":
            raise _pending() if behavior == "pending_if_incomplete" else cards.unpaid(outcome, method, "subscription")
    prorations.record(ctx.tx, added)
    pays = behavior != "default_incomplete"
    if not period:
        return periods.bill_now(ctx.tx, before, sub, pays=pays)
    return periods.start_now(ctx.tx, before, sub, reason=reason, pays=pays)


def _pending() -> ApiError:
    return unsupported("updates that stay pending until their payment")


def _changed(ctx: Context, before: Obj) -> dict[str, Any]:
    fields = cancel_fields(ctx, before["items"]["data"][0]["current_period_end"])
    if "metadata" in ctx.params:
        fields["metadata"] = merged(before["metadata"], ctx.params["metadata"])
    if "cancellation_details" in ctx.params:
        known: Obj = fields.get("cancellation_details") or before["cancellation_details"]
        fields["cancellation_details"] = {**known, **ctx.params["cancellation_details"]}
    if "pause_collection" in ctx.params:
        pause = ctx.params["pause_collection"]
        fields["pause_collection"] = None if pause is None else {"resumes_at": None, **pause}
    return fields


def _with_items(ctx: Context, sub: Obj) -> Obj:
    items = {item["id"]: item for item in sub["items"]["data"]}
    for place, sent in enumerate(ctx.params.get("items", ())):
        _change_item(ctx, sub, items, sent, f"items[{place}]")
    if not items:
        raise refused("A subscription must have at least one active plan. All plans in your request are deleted.")
    return {**sub, "items": {**sub["items"], "data": list(items.values())}}


def _change_item(ctx: Context, sub: Obj, items: dict[str, Obj], sent: Mapping[str, Any], name: str) -> None:
    identifier = sent.get("id")
    if identifier is not None and identifier not in items:
        raise no_such("subscription_item", identifier, f"{name}[id]")
    if sent.get("deleted"):
        items.pop(identifier or "", None)
        return
    changed = {field: sent[field] for field in ("quantity",) if field in sent}
    if "price" in sent:
        changed["price"] = usable_price(ctx, sent["price"], f"{name}[price]")
    if identifier is not None:
        items[identifier] = {**items[identifier], **changed}
        return
    first = sub["items"]["data"][0]
    period = (first["current_period_start"], first["current_period_end"])
    added = new_item(ctx, sub["id"], changed.get("price", first["price"]), sent, period)
    items[added["id"]] = added


def _with_trial(ctx: Context, sub: Obj) -> Obj:
    """`trial_end`: a new end of the trial; `now` ends nothing where no trial runs."""
    trial_end = trial_end_of(ctx)
    if trial_end is None:
        return sub
    items = [{**item, "current_period_end": trial_end} for item in sub["items"]["data"]]
    return {
        **sub,
        "billing_cycle_anchor": trial_end,
        "items": {**sub["items"], "data": items},
        "status": "trialing",
        "trial_end": trial_end,
        "trial_start": sub["trial_start"] or ctx.now,
    }


def resume(ctx: Context) -> Obj:
    """A paused subscription goes on with a new period, once that is paid for."""
    before = alive(ctx, "subscription", ctx.identifier)
    if before["status"] != "paused":
        raise refused("Only paused subscriptions can be resumed.")
    if ctx.tx.get(before["latest_invoice"])["status"] == "open":
        raise refused("This subscription is being resumed: its invoice is open.")
    if before["collection_method"] != "charge_automatically":
        raise refused("Only subscriptions that are charged automatically can be resumed.")
    if ctx.params.get("billing_cycle_anchor") == "unchanged":
        raise unsupported("resuming in the old billing cycle")
    return periods.resume(ctx.tx, before)

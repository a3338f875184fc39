"""Updates of a subscription (`POST /v1/subscriptions/{id}`) and its resumption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stripe.call import Context
from sandbox.stripe.errors import no_such, refused
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
from sandbox.stripe.passing_time import start_period
from sandbox.stripe.prices import usable_price
from sandbox.stripe.subscriptions import TERMINAL, announce_short_trial, new_item
from sandbox.stripe.terms import DETAILS, KEPT, SHARED, cancel_fields, trial_end_of

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
    sub = {**before, **ctx.fields(*KEPT), **_changed(ctx, before)}
    sub = _with_items(ctx, sub)
    if "trial_end" in ctx.params:
        sub = _with_trial(ctx, sub)
    ctx.tx.put(sub)
    ctx.tx.emit("customer.subscription.updated", sub, before)
    if "trial_end" in ctx.params:
        announce_short_trial(ctx, sub)
    return sub


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
    """`trial_end`: a new end of the trial, or `now`."""
    trial_end = trial_end_of(ctx)
    if trial_end is None:
        ended = {**sub, "trial_end": ctx.now if sub["trial_end"] else None, "billing_cycle_anchor": ctx.now}
        return start_period(ctx.tx, ctx.ledger, ended) if sub["status"] == "trialing" else sub
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
    """A paused subscription goes on, active, with a new period."""
    before = alive(ctx, "subscription", ctx.identifier)
    if before["status"] != "paused":
        raise refused("Only paused subscriptions can be resumed.")
    sub = ctx.tx.put(start_period(ctx.tx, ctx.ledger, before))
    ctx.tx.emit("customer.subscription.resumed", sub, before)
    ctx.tx.emit("customer.subscription.updated", sub, before)
    return sub

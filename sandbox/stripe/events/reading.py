"""/v1/events: what happened in the last 30 days, newest first."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, no_such
from sandbox.stripe.lists import alive, answer_list, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import boolean, list_of, text
from sandbox.stripe.shapes import rendered_event

KEPT_SECONDS = 30 * 86_400
LIST = list_spec({"delivery_success": boolean, "type": text(), "types": list_of(text(), limit=20)})


def retrieve(ctx: Context) -> Obj:
    """The event in the shape of the version it was made at; 404 for one older than 30 days."""
    return _shown(ctx, _kept(ctx, ctx.identifier, "id"))


def _kept(ctx: Context, identifier: str, param: str) -> Obj:
    event = alive(ctx, "event", identifier, param)
    if event["created"] <= ctx.now - KEPT_SECONDS:
        raise no_such("event", identifier, param)
    return event


def _shown(ctx: Context, event: Obj) -> Obj:
    return rendered_event(event, event["api_version"], ctx.ledger.find)


def list_all(ctx: Context) -> Obj:
    """`type` may end in `.*`, `types` are names; `delivery_success` says whether all endpoints took the event."""
    for name in ("starting_after", "ending_before"):
        if name in ctx.params:
            _kept(ctx, ctx.params[name], name)
    asked = _asked(ctx)
    delivered: bool | None = ctx.params.get("delivery_success")
    oldest = ctx.now - KEPT_SECONDS

    def keep(event: Obj) -> bool:
        if event["created"] <= oldest or not asked(event["type"]):
            return False
        if delivered and event["pending_webhooks"]:
            return False
        return _visible(event, ctx.ledger.event_lag, ctx.now)

    among = list(ctx.ledger.undelivered) if delivered is False else None
    page = answer_list(ctx, "event", keep=keep, among=among)
    return {**page, "data": [_shown(ctx, event) for event in page["data"]]}


def _asked(ctx: Context) -> Callable[[str], bool]:
    if "type" in ctx.params and "types" in ctx.params:
        raise invalid("You may only specify one of these parameters: type, types.", code="parameters_exclusive")
    if "types" in ctx.params:
        return set(ctx.params["types"]).__contains__
    wanted: str | None = ctx.params.get("type")
    if wanted is None:
        return lambda _: True
    return lambda kind: kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted


def _visible(event: Obj, lag: float, now: int) -> bool:
    """A list shows an event up to `lag` seconds late, each by its own time: a newer one may be there before it."""
    if not lag:
        return True
    share = crc32(event["id"].encode()) % 1000 / 999
    return float(event["created"] + lag * share) <= now

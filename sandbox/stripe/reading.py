"""What can only be read: the account, events."""

from __future__ import annotations

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid
from sandbox.stripe.lists import alive, answer_list, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import boolean, list_of, text

EVENTS_KEPT_SECONDS = 30 * 86_400
EVENT_LIST = list_spec({"delivery_success": boolean, "type": text(), "types": list_of(text(), limit=20)})


def account(ctx: Context) -> Obj:
    return objects.account(ctx.account)


def retrieve_event(ctx: Context) -> Obj:
    return alive(ctx, "event", ctx.identifier)


def list_events(ctx: Context) -> Obj:
    """Events of the last 30 days; `type` may end in `.*`. No webhook endpoint here, so none is undelivered."""
    if "type" in ctx.params and "types" in ctx.params:
        raise invalid("You may only specify one of these parameters: type, types.", code="parameters_exclusive")
    wanted = ctx.params.get("types") or ([ctx.params["type"]] if "type" in ctx.params else [])
    exact = {kind for kind in wanted if not kind.endswith("*")}
    prefixes = tuple(kind[:-1] for kind in wanted if kind.endswith("*"))
    oldest = ctx.now - EVENTS_KEPT_SECONDS
    delivered: bool = ctx.params.get("delivery_success", True)

    def keep(obj: Obj) -> bool:
        kind = obj["type"]
        asked = not wanted or kind in exact or kind.startswith(prefixes or ("\0",))
        return asked and delivered and int(obj["created"]) > oldest

    return answer_list(ctx, "event", keep=keep)

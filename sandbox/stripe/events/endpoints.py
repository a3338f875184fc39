"""/v1/webhook_endpoints: where events are delivered to (https://docs.stripe.com/api/webhook_endpoints).

An endpoint keeps its signing secrets under `_secrets`, which no answer shows; the newest is told once, at creation.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import invalid, no_such, refused
from sandbox.stripe.events.types import TYPES
from sandbox.stripe.forms import Tree
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lists import EXPAND, answer_list
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, boolean, clearable, integer, list_of, metadata, text
from sandbox.stripe.versions import known

MAX_ENDPOINTS = 16


def _url(value: Tree, name: str) -> str:
    """An address with its scheme; Stripe itself refuses `localhost`, and http in live mode."""
    address: str = text()(value, name)
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        message = "Invalid URL: An explicit scheme (such as https) must be provided."
        raise invalid(message, param=name, code="url_invalid")
    return address


def _type(value: Tree, name: str) -> str:
    kind: str = text()(value, name)
    if kind != "*" and kind not in TYPES:
        raise invalid(
            f"Invalid {name}: must be one of *, {', '.join(sorted(TYPES)[:3])}, … (received {kind[:100]})", name
        )
    return kind


def _types(value: Tree, name: str) -> list[str]:
    kinds: list[str] = list_of(_type, limit=len(TYPES))(value, name)
    if not kinds:
        raise invalid("Invalid array: enabled_events must not be empty.", param=name)
    return kinds


def _version(value: Tree, name: str) -> str:
    version: str = text()(value, name)
    if not known(version):
        raise invalid(f"Invalid Stripe API version: {version[:50]}", param=name)
    return version


_FIELDS = {"description": clearable(text()), "enabled_events": _types, "url": _url}
_SHARED = {**_FIELDS, "metadata": metadata, "expand": EXPAND}
CREATE = Spec({**_SHARED, "api_version": _version}, required=("enabled_events", "url"))
UPDATE = Spec({**_SHARED, "disabled": boolean})
LIST = Spec({"starting_after": text(), "ending_before": text(), "limit": integer(1, 100), "expand": EXPAND})


def create(ctx: Context) -> Obj:
    """The endpoint, with its secret: this answer alone has it."""
    if ctx.ledger.tables["webhook_endpoint"].count() >= MAX_ENDPOINTS:
        raise refused(f"You have reached the maximum of {MAX_ENDPOINTS} test webhook endpoints.")
    return add(ctx.tx, {**ctx.fields(*_FIELDS, "api_version"), **ctx.metadata({})}, ctx.tx.ids.secret("whsec"))


def add(tx: Transaction, fields: Obj, secret: str) -> Obj:
    """A new endpoint that signs with `secret`, shown with it; `fields` has `url` and `enabled_events` at least."""
    endpoint = {
        "id": tx.ids.long("we"),
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": tx.now,
        "description": None,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        **fields,
        "_secrets": [[secret, None]],
    }
    return {**shown(tx.put(endpoint)), "secret": secret}


def shown(endpoint: Obj) -> Obj:
    """What answers may say of an endpoint."""
    return {name: value for name, value in endpoint.items() if not name.startswith("_")}


def _alive(ctx: Context) -> Obj:
    endpoint = ctx.ledger.tables["webhook_endpoint"].live(ctx.identifier)
    if endpoint is None:
        raise no_such("webhook endpoint", ctx.identifier)
    return endpoint


def retrieve(ctx: Context) -> Obj:
    return shown(_alive(ctx))


def update(ctx: Context) -> Obj:
    """Everything but its version and its secret."""
    before = _alive(ctx)
    fields = {**ctx.fields(*_FIELDS), **ctx.metadata(before["metadata"])}
    if "disabled" in ctx.params:
        fields["status"] = "disabled" if ctx.params["disabled"] else "enabled"
    return shown(ctx.tx.put({**before, **fields}))


def delete(ctx: Context) -> Obj:
    return ctx.tx.put(objects.deleted(_alive(ctx)))


def list_all(ctx: Context) -> Obj:
    page = answer_list(ctx, "webhook_endpoint")
    return {**page, "data": [shown(endpoint) for endpoint in page["data"]]}

"""/v1/customers."""

from __future__ import annotations

from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, choice, clearable, email, integer, list_of, merged, metadata, text
from sandbox.stripe.subscriptions import TERMINAL, end_now

_ADDRESS = {part: clearable(text()) for part in ("city", "country", "line1", "line2", "postal_code", "state")}
_SHIPPING = Spec({"address": Spec(_ADDRESS), "name": text(), "phone": clearable(text())}, required=("address", "name"))
_FIELDS = {
    "address": clearable(Spec(_ADDRESS)),
    "balance": integer(),
    "description": clearable(text()),
    "email": clearable(email),
    "name": clearable(text(256)),
    "phone": clearable(text(20)),
    "preferred_locales": list_of(text()),
    "shipping": clearable(_SHIPPING),
    "tax_exempt": choice("none", "exempt", "reverse"),
}
WRITE = Spec({**_FIELDS, "metadata": metadata, "expand": EXPAND})
LIST = list_spec({"email": text(512)})


def create(ctx: Context) -> Obj:
    fields = _sent(ctx, {})
    customer = ctx.tx.put(objects.customer(ctx.tx.ids.short("cus"), ctx.now, fields))
    ctx.tx.emit("customer.created", customer)
    return customer


def _sent(ctx: Context, known: dict[str, str]) -> dict[str, Any]:
    fields = ctx.fields(*_FIELDS)
    if fields.get("address"):
        fields["address"] = {**dict.fromkeys(_ADDRESS), **fields["address"]}
    if "metadata" in ctx.params:
        fields["metadata"] = merged(known, ctx.params["metadata"])
    return fields


def retrieve(ctx: Context) -> Obj:
    """The customer; a deleted one as `{"id", "object", "deleted": true}`."""
    return ctx.ledger.tables["customer"].rows.get(ctx.identifier) or alive(ctx, "customer", ctx.identifier)


def update(ctx: Context) -> Obj:
    before = alive(ctx, "customer", ctx.identifier)
    customer = ctx.tx.put({**before, **_sent(ctx, before["metadata"])})
    ctx.tx.emit("customer.updated", customer, before)
    return customer


def delete(ctx: Context) -> Obj:
    """Deletes the customer for good and cancels its subscriptions at once."""
    customer = alive(ctx, "customer", ctx.identifier)
    for sub in ctx.ledger.tables["subscription"].by("customer", customer["id"]):
        if sub["status"] not in TERMINAL:
            end_now(ctx.tx, sub)
    ctx.tx.emit("customer.deleted", customer)
    return ctx.tx.put(objects.deleted(customer))


def list_all(ctx: Context) -> Obj:
    return answer_list(ctx, "customer", where=ctx.fields("email"))


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "customer")

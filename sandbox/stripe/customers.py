"""/v1/customers."""

from __future__ import annotations

from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import refused
from sandbox.stripe.kinds import CLOCK
from sandbox.stripe.ledger import CUSTOMERS_PER_CLOCK, Transaction
from sandbox.stripe.lifecycle import TERMINAL, end_now
from sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Check, Spec, choice, clearable, email, integer, list_of, merged, metadata, text
from sandbox.stripe.payment_methods import attach_to, detach_now, own, resolve

_ADDRESS = {part: clearable(text()) for part in ("city", "country", "line1", "line2", "postal_code", "state")}
_SHIPPING = Spec({"address": Spec(_ADDRESS), "name": text(), "phone": clearable(text())}, required=("address", "name"))
_FIELDS: dict[str, Check] = {
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
_SETTINGS = Spec({"default_payment_method": clearable(text()), "footer": clearable(text())})
_WRITE: dict[str, Check] = {**_FIELDS, "invoice_settings": _SETTINGS, "metadata": metadata, "expand": EXPAND}
CREATE = Spec({**_WRITE, "payment_method": text(), "test_clock": text()})
UPDATE = Spec(_WRITE)
LIST = list_spec({"email": text(512), "test_clock": text()})


def create(ctx: Context) -> Obj:
    """A customer; with `payment_method`, that card's owner from the start, with `test_clock` on it for ever."""
    clock = _clock(ctx)
    customer = objects.customer(ctx.tx.ids.short("cus"), ctx.now, {**_sent(ctx, {}), "test_clock": clock})
    card = _attached(ctx, customer["id"])
    customer = ctx.tx.put({**customer, **_settings(ctx, customer, card)})
    ctx.tx.emit("customer.created", customer)
    return customer


def _clock(ctx: Context) -> str | None:
    name: str | None = ctx.params.get("test_clock")
    if name is None:
        return None
    alive(ctx, CLOCK, name, "test_clock")
    ctx.tx.enter(name)
    count = len(ctx.ledger.tables["customer"].by("test_clock", name))
    if count >= CUSTOMERS_PER_CLOCK and not ctx.ledger.unlimited_test_clocks:
        raise refused(f"A test clock can have up to {CUSTOMERS_PER_CLOCK} customers.", param="test_clock")
    return name


def _attached(ctx: Context, customer: str) -> dict[str, str]:
    """The new id of the card that came with the customer, by the name that it came under."""
    name = ctx.params.get("payment_method")
    if name is None:
        return {}
    return {name: attach_to(ctx, resolve(ctx, name, "payment_method"), customer)["id"]}


def _settings(ctx: Context, customer: Obj, card: dict[str, str]) -> dict[str, Any]:
    sent = ctx.params.get("invoice_settings")
    if sent is None:
        return {}
    settings = {**customer["invoice_settings"], **sent}
    if "default_payment_method" in sent:
        name, param = sent["default_payment_method"], "invoice_settings[default_payment_method]"
        settings["default_payment_method"] = own(ctx, card.get(name, name), customer["id"], param)
    return {"invoice_settings": settings}


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
    customer = ctx.tx.put({**before, **_sent(ctx, before["metadata"]), **_settings(ctx, before, {})})
    ctx.tx.emit("customer.updated", customer, before)
    return customer


def delete(ctx: Context) -> Obj:
    """Deletes the customer for good, cancels its subscriptions at once and detaches its cards."""
    return delete_now(ctx.tx, alive(ctx, "customer", ctx.identifier))


def delete_now(tx: Transaction, customer: Obj) -> Obj:
    for sub in tx.ledger.tables["subscription"].by("customer", customer["id"]):
        if sub["status"] not in TERMINAL:
            end_now(tx, sub)
    for method in tx.ledger.tables["payment_method"].by("customer", customer["id"]):
        detach_now(tx, method)
    customer = tx.get(customer["id"])
    tx.emit("customer.deleted", customer)
    return tx.put(objects.deleted(customer))


def list_all(ctx: Context) -> Obj:
    """Without `test_clock`: those that are on none."""
    clock = ctx.params.get("test_clock")
    where = ctx.fields("email", "test_clock")
    return answer_list(ctx, "customer", where=where, keep=lambda customer: customer["test_clock"] == clock)


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "customer")

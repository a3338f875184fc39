"""/v1/products."""

from __future__ import annotations

from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import refused
from sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Check, Spec, boolean, clearable, list_of, metadata, text

_FIELDS: dict[str, Check] = {
    "active": boolean,
    "description": clearable(text(40_000)),
    "images": list_of(text(), limit=8),
    "name": text(250),
    "shippable": boolean,
    "statement_descriptor": clearable(text(22)),
    "tax_code": clearable(text()),
    "unit_label": clearable(text(12)),
    "url": clearable(text()),
}
CREATE = Spec({**_FIELDS, "id": text(), "metadata": metadata, "expand": EXPAND}, required=("name",))
UPDATE = Spec({**_FIELDS, "metadata": metadata, "expand": EXPAND})
LIST = list_spec({"active": boolean, "ids": list_of(text())})


def create(ctx: Context) -> Obj:
    return new_product(ctx, ctx.params.get("id"), {**ctx.fields(*_FIELDS), **ctx.metadata({})})


def new_product(ctx: Context, identifier: str | None, fields: dict[str, Any]) -> Obj:
    if identifier is not None and ctx.ledger.tables["product"].live(identifier) is not None:
        raise refused("Product already exists.", param="id", code="resource_already_exists")
    product = ctx.tx.put(objects.product(identifier or ctx.tx.ids.short("prod"), ctx.now, fields))
    ctx.tx.emit("product.created", product)
    return product


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "product", ctx.identifier)


def update(ctx: Context) -> Obj:
    before = alive(ctx, "product", ctx.identifier)
    changed = {**ctx.fields(*_FIELDS), **ctx.metadata(before["metadata"]), "updated": ctx.now}
    product = ctx.tx.put({**before, **changed})
    ctx.tx.emit("product.updated", product, before)
    return product


def delete(ctx: Context) -> Obj:
    product = alive(ctx, "product", ctx.identifier)
    if ctx.ledger.tables["price"].by("product", product["id"]):
        raise refused("This product cannot be deleted because it has one or more user-created prices.")
    ctx.tx.emit("product.deleted", product)
    return ctx.tx.put(objects.deleted(product))


def list_all(ctx: Context) -> Obj:
    ids = ctx.params.get("ids")
    active = ctx.fields("active")
    return answer_list(
        ctx, "product", keep=lambda obj: (ids is None or obj["id"] in ids) and active.items() <= obj.items()
    )


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "product")

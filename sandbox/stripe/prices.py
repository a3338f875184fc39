"""/v1/prices: recurring or one-time, found by lookup key."""

from __future__ import annotations

from typing import Any

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import ApiError, invalid, no_such, refused
from sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import (
    Check,
    Spec,
    boolean,
    choice,
    clearable,
    integer,
    list_of,
    merged,
    metadata,
    text,
)
from sandbox.stripe.products import new_product

_INTERVAL = choice("day", "week", "month", "year")
_RECURRING = Spec(
    {"interval": _INTERVAL, "interval_count": integer(1, 1095), "usage_type": choice("licensed")},
    required=("interval",),
)
_FIELDS: dict[str, Check] = {
    "active": boolean,
    "nickname": clearable(text()),
    "tax_behavior": choice("exclusive", "inclusive", "unspecified"),
}
_LOOKUP: dict[str, Check] = {
    "lookup_key": clearable(text(200)),
    "transfer_lookup_key": boolean,
    "metadata": metadata,
    "expand": EXPAND,
}
_FIXED: dict[str, Check] = {
    "billing_scheme": choice("per_unit"),
    "currency": text(3),
    "product": text(),
    "product_data": Spec(
        {"name": text(250), "id": text(), "active": boolean, "metadata": metadata}, required=("name",)
    ),
    "recurring": _RECURRING,
    "unit_amount": integer(0, 99_999_999),
}
CREATE = Spec({**_FIELDS, **_LOOKUP, **_FIXED}, required=("currency", "unit_amount"))
UPDATE = Spec({**_FIELDS, **_LOOKUP})
LIST = list_spec(
    {
        "active": boolean,
        "currency": text(3),
        "lookup_keys": list_of(text(200), limit=10),
        "product": text(),
        "recurring": Spec({"interval": _INTERVAL, "usage_type": choice("licensed", "metered")}),
        "type": choice("one_time", "recurring"),
    }
)


def create(ctx: Context) -> Obj:
    fields = {**ctx.fields("currency", "unit_amount", *_FIELDS, "lookup_key"), **ctx.metadata({})}
    fields["currency"] = _currency(fields["currency"])
    recurring = ctx.params.get("recurring")
    if recurring is not None:
        fields["recurring"] = objects.recurring(recurring["interval"], recurring.get("interval_count", 1), "licensed")
    _claim_lookup_key(ctx, None)
    fields["product"] = _product_of(ctx)
    price = ctx.tx.put(objects.price(ctx.tx.ids.long("price"), ctx.now, fields))
    ctx.tx.emit("price.created", price)
    return price


def _currency(code: str) -> str:
    if len(code) != 3 or not code.isalpha() or not code.isascii():
        raise invalid(f"Invalid currency: {code}.", param="currency")
    return code.lower()


def _product_of(ctx: Context) -> str:
    sent = ctx.fields("product", "product_data")
    if len(sent) != 1:
        raise _one_of_product(sent)
    if "product" in sent:
        return str(alive(ctx, "product", sent["product"], "product")["id"])
    data = dict(sent["product_data"])
    identifier = data.pop("id", None)
    data["metadata"] = merged({}, data.get("metadata", {}))
    return str(new_product(ctx, identifier, data)["id"])


def _one_of_product(sent: dict[str, Any]) -> ApiError:
    if sent:
        return invalid(
            "You may only specify one of these parameters: product, product_data.", code="parameters_exclusive"
        )
    message = "You must specify one of these parameters: product, product_data."
    return invalid(message, param="product", code="parameter_missing")


def _claim_lookup_key(ctx: Context, own: str | None) -> None:
    """Lookup keys are unique; `transfer_lookup_key` takes one from the price that has it."""
    key = ctx.params.get("lookup_key")
    if key is None:
        return
    for holder in ctx.ledger.tables["price"].by("lookup_key", key):
        if holder["id"] == own:
            continue
        if not ctx.params.get("transfer_lookup_key"):
            raise refused(f"A price (`{holder['id']}`) already uses that lookup key.", param="lookup_key")
        ctx.tx.emit("price.updated", ctx.tx.put({**holder, "lookup_key": None}), holder)


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "price", ctx.identifier)


def update(ctx: Context) -> Obj:
    before = alive(ctx, "price", ctx.identifier)
    _claim_lookup_key(ctx, before["id"])
    fields = {**ctx.fields(*_FIELDS, "lookup_key"), **ctx.metadata(before["metadata"])}
    price = ctx.tx.put({**before, **fields})
    ctx.tx.emit("price.updated", price, before)
    return price


def list_all(ctx: Context) -> Obj:
    keys, recurring = ctx.params.get("lookup_keys"), ctx.params.get("recurring", {})
    fields = ctx.fields("active", "currency", "product", "type")

    def keep(obj: Obj) -> bool:
        if keys is not None and obj["lookup_key"] not in keys:
            return False
        return fields.items() <= obj.items() and recurring.items() <= (obj["recurring"] or {}).items()

    return answer_list(ctx, "price", keep=keep)


def usable_price(ctx: Context, identifier: str, param: str) -> Obj:
    """An active recurring price, as a subscription needs it."""
    price = ctx.ledger.tables["price"].live(identifier)
    if price is None:
        raise no_such("price", identifier, param)
    if not price["active"]:
        message = f"The price specified is inactive. This field only accepts active prices. ({identifier})"
        raise refused(message, param=param)
    if price["type"] != "recurring":
        message = "The price specified is set to `type=one_time` but this field only accepts `type=recurring`."
        raise refused(message, param=param)
    return price


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "price")

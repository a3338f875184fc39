"""/v1/customers/*/tax_ids: EU VAT numbers alone, whose form is checked. Source: https://docs.stripe.com/api/tax_ids."""

from __future__ import annotations

import re

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.errors import no_such, refused
from sandbox.stripe.lists import EXPAND, PAGE, alive, answer_list
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, choice, text

_EU_VAT = re.compile(r"[A-Z]{2}[0-9A-Z+*]{2,12}")

CREATE = Spec({"type": choice("eu_vat"), "value": text(), "expand": EXPAND}, required=("type", "value"))
LIST = Spec(PAGE)


def create(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.identifier)
    value: str = ctx.params["value"]
    if not _EU_VAT.fullmatch(value):
        raise refused("Invalid value for eu_vat.", param="value", code="tax_id_invalid")
    made: Obj = {
        "id": ctx.tx.ids.long("txi"),
        "object": "tax_id",
        "country": value[:2],
        "created": ctx.now,
        "customer": customer["id"],
        "livemode": False,
        "owner": {"type": "customer", "customer": customer["id"]},
        "type": ctx.params["type"],
        "value": value,
        "verification": {"status": "pending", "verified_address": None, "verified_name": None},
    }
    return ctx.tx.put(made)


def delete(ctx: Context) -> Obj:
    customer_id, _, identifier = ctx.identifier.partition("/")
    customer, found = alive(ctx, "customer", customer_id), alive(ctx, "tax_id", identifier)
    if found["customer"] != customer["id"]:
        raise no_such("tax_id", identifier)
    return ctx.tx.put(objects.deleted(found))


def list_all(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.identifier)
    return answer_list(ctx, "tax_id", where={"customer": customer["id"]}, url=f"/v1/customers/{customer['id']}/tax_ids")

"""/v1/customers/*/tax_ids: EU VAT numbers alone, which nobody checks. Source: https://docs.stripe.com/api/tax_ids."""

from __future__ import annotations

from sandbox.stripe.call import Context
from sandbox.stripe.lists import EXPAND, PAGE, alive, answer_list
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, choice, text

CREATE = Spec({"type": choice("eu_vat"), "value": text(), "expand": EXPAND}, required=("type", "value"))
LIST = Spec(PAGE)


def create(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.identifier)
    value: str = ctx.params["value"]
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


def list_all(ctx: Context) -> Obj:
    customer = alive(ctx, "customer", ctx.identifier)
    return answer_list(ctx, "tax_id", where={"customer": customer["id"]}, url=f"/v1/customers/{customer['id']}/tax_ids")

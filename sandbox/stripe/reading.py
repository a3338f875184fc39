"""What can only be read: the account, invoices."""

from __future__ import annotations

from sandbox.stripe import objects
from sandbox.stripe.call import Context
from sandbox.stripe.lists import alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import choice, text

INVOICE_LIST = list_spec(
    {
        "customer": text(),
        "status": choice("draft", "open", "paid", "uncollectible", "void"),
        "subscription": text(),
    }
)


def account(ctx: Context) -> Obj:
    return objects.account(ctx.account)


def retrieve_invoice(ctx: Context) -> Obj:
    return alive(ctx, "invoice", ctx.identifier)


def list_invoices(ctx: Context) -> Obj:
    status, subscription = ctx.params.get("status"), ctx.params.get("subscription")

    def keep(obj: Obj) -> bool:
        owner = obj["parent"]["subscription_details"]["subscription"]
        return status in (None, obj["status"]) and subscription in (None, owner)

    return answer_list(ctx, "invoice", where=ctx.fields("customer"), keep=keep)


def search_invoices(ctx: Context) -> Obj:
    return answer_search(ctx, "invoice")

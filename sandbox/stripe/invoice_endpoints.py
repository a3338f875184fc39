"""/v1/invoices, as far as subscriptions make them, with their payments: read, finalize, pay, void, give up."""

from __future__ import annotations

from sandbox.stripe import cards, collection
from sandbox.stripe.agenda import HOUR
from sandbox.stripe.call import Context
from sandbox.stripe.errors import ApiError, refused
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.lifecycle import method_of
from sandbox.stripe.lists import EXPAND, alive, answer_list, answer_search, list_spec
from sandbox.stripe.objects import Obj
from sandbox.stripe.params import Spec, boolean, choice, text
from sandbox.stripe.payment_methods import own
from sandbox.stripe.standing import subscription_of

LIST = list_spec(
    {
        "collection_method": choice("charge_automatically", "send_invoice"),
        "customer": text(),
        "status": choice("draft", "open", "paid", "uncollectible", "void"),
        "subscription": text(),
    }
)
FINALIZE = Spec({"auto_advance": boolean, "expand": EXPAND})
PAY = Spec({"expand": EXPAND, "off_session": boolean, "paid_out_of_band": boolean, "payment_method": text()})
ITEMS = list_spec({"customer": text(), "invoice": text(), "pending": boolean})
PAYMENTS = list_spec({"invoice": text(), "status": choice("canceled", "open", "paid")})


def retrieve(ctx: Context) -> Obj:
    return alive(ctx, "invoice", ctx.identifier)


def list_all(ctx: Context) -> Obj:
    equal, subscription = ctx.fields("collection_method", "status"), ctx.params.get("subscription")

    def keep(obj: Obj) -> bool:
        owner = obj["parent"]["subscription_details"]["subscription"]
        return equal.items() <= obj.items() and subscription in (None, owner)

    return answer_list(ctx, "invoice", where=ctx.fields("customer"), keep=keep)


def search(ctx: Context) -> Obj:
    return answer_search(ctx, "invoice")


def finalize(ctx: Context) -> Obj:
    """Open at once; collected by itself an hour later, unless `auto_advance` is false."""
    bill = alive(ctx, "invoice", ctx.identifier)
    if bill["status"] != "draft":
        raise refused("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    alive(ctx, "customer", bill["customer"], "customer")
    opened = collection.finalize(ctx.tx, bill)
    if opened["status"] == "open":
        opened = _collected_later(ctx.tx, opened, advance=bool(ctx.params.get("auto_advance", bill["auto_advance"])))
    return opened


def _collected_later(tx: Transaction, bill: Obj, *, advance: bool) -> Obj:
    charged = advance and bill["collection_method"] == "charge_automatically"
    when = tx.now + HOUR if charged else None
    after = tx.put({**bill, "auto_advance": advance, "next_payment_attempt": when})
    tx.emit("invoice.updated", after, bill)
    return after


def pay(ctx: Context) -> Obj:
    """One attempt, now (402 for a declined card); a draft is finalized first."""
    bill = alive(ctx, "invoice", ctx.identifier)
    alive(ctx, "customer", bill["customer"], "customer")
    method = _method(ctx, bill)
    if bill["status"] == "draft":
        bill = collection.finalize(ctx.tx, bill)
        if bill["status"] == "paid":
            return bill
    if bill["status"] not in ("open", "uncollectible"):
        raise refused("Invoice is already paid" if bill["status"] == "paid" else "This invoice is void.")
    if ctx.params.get("paid_out_of_band"):
        collection.cancel_payments(ctx.tx, bill)
        return collection.settled(ctx.tx, bill)
    if method is None:
        raise _no_method()
    outcome = collection.collect(ctx.tx, bill, method, automatic=False)
    if outcome != "paid":
        raise cards.unpaid(outcome, method, "invoice")
    return ctx.tx.get(bill["id"])


def _method(ctx: Context, bill: Obj) -> Obj | None:
    if "payment_method" in ctx.params:
        own(ctx, ctx.params["payment_method"], bill["customer"], "payment_method")
        return ctx.tx.get(ctx.params["payment_method"])
    return method_of(ctx.tx, subscription_of(ctx.tx, bill), bill)


def _no_method() -> ApiError:
    message = (
        "There is no `default_payment_method` set on this Customer or Invoice. Please set a `default_payment_method`."
    )
    return refused(message, code="resource_missing")


def void(ctx: Context) -> Obj:
    return collection.void(ctx.tx, _open(ctx, "void", "open", "uncollectible"))


def mark_uncollectible(ctx: Context) -> Obj:
    return collection.mark_uncollectible(ctx.tx, _open(ctx, "mark as uncollectible", "open"))


def _open(ctx: Context, verb: str, *statuses: str) -> Obj:
    bill = alive(ctx, "invoice", ctx.identifier)
    if bill["status"] not in statuses:
        raise refused(f"You can only {verb} an invoice that is {' or '.join(statuses)}; this one is {bill['status']}.")
    return bill


def retrieve_payment(ctx: Context) -> Obj:
    return alive(ctx, "invoice_payment", ctx.identifier)


def list_payments(ctx: Context) -> Obj:
    status = ctx.fields("status")
    return answer_list(
        ctx, "invoice_payment", where=ctx.fields("invoice"), keep=lambda payment: status.items() <= payment.items()
    )


def retrieve_item(ctx: Context) -> Obj:
    return alive(ctx, "invoiceitem", ctx.identifier)


def list_items(ctx: Context) -> Obj:
    """What changes of plans left for the next invoice (`pending`), and what invoices have taken."""
    invoice, pending = ctx.fields("invoice"), ctx.params.get("pending")

    def keep(item: Obj) -> bool:
        return invoice.items() <= item.items() and pending in (None, item["invoice"] is None)

    return answer_list(ctx, "invoiceitem", where=ctx.fields("customer"), keep=keep)


def retrieve_intent(ctx: Context) -> Obj:
    return alive(ctx, "payment_intent", ctx.identifier)

"""The portal's list of invoices, and paying one that is open by the card that pays for its subscription."""

from __future__ import annotations

from sandbox.stripe import collection, invoice_endpoints
from sandbox.stripe.checkout.completing import asked
from sandbox.stripe.errors import ApiError, no_such, refused
from sandbox.stripe.lifecycle import method_of
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import html, question, words
from sandbox.stripe.pages.portal_visit import Act, Question, Visit
from sandbox.stripe.standing import subscription_of

_SHOWN = 10


def section(seen: Visit) -> str:
    """The newest first; "" where they aren't shown."""
    if not seen.features["invoice_history"]["enabled"]:
        return ""
    bills = seen.ctx.ledger.tables["invoice"].by("customer", seen.customer["id"])
    rows = "".join(_row(seen, bill) for bill in bills[: -_SHOWN - 1 : -1] if bill["status"] != "draft")
    return f"<h2>Invoices</h2>{rows or html.paragraph('There is none yet.')}"


def _row(seen: Visit, bill: Obj) -> str:
    amount = words.money(bill["amount_due"], bill["currency"])
    about = html.text(f"{words.date(bill['created'])}: {amount}, {bill['status']}")
    path = f"{seen.home}/invoices/{bill['id']}/pay"
    pay = html.form(path, html.button("Pay", quiet=True), inline=True) if bill["status"] == "open" else ""
    return f"<section>{about} {pay}</section>"


def _invoice(seen: Visit, identifier: str) -> Obj:
    if not seen.features["invoice_history"]["enabled"]:
        raise refused("Invoices aren't shown here.")
    bill = seen.ctx.ledger.tables["invoice"].live(identifier)
    if bill is None or bill["customer"] != seen.customer["id"]:
        raise no_such("invoice", identifier)
    return bill


def _pay(seen: Visit, bill: Obj) -> Question | None:
    ctx, answer = seen.ctx, question.answered(seen.form)
    method = method_of(ctx.tx, subscription_of(ctx.tx, bill), bill)
    if method is not None and answer == question.NO and bill["status"] == "open":
        raise collection.refuse(ctx.tx, bill, method)
    if method is not None and answer == question.YES:
        ctx.tx.authenticated.add(method["id"])
    try:
        invoice_endpoints.pay(asked(ctx, {}, bill["id"]))
    except ApiError as error:
        if error.code != "invoice_payment_intent_requires_action":
            raise
        amount = words.money(bill["amount_due"], bill["currency"])
        return f"A payment of {amount} is to be confirmed.", {}
    return None


PAY = Act("invoices/pay", _invoice, _pay)

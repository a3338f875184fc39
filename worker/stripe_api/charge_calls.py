"""What charging in order asks of Stripe: an invoice with its payments, and one attempt to be paid by a card.

https://docs.stripe.com/api/invoices/retrieve, https://docs.stripe.com/api/invoices/pay,
https://docs.stripe.com/api/payment_intents/object#payment_intent_object-last_payment_error
"""

from __future__ import annotations

from datetime import datetime

from worker.domain.charging import InvoiceNow, PaymentNow
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor, segment
from worker.stripe_api.test_clock import frozen_time

WHOLE = {"expand": ["payments.data.payment.payment_intent", "parent.subscription_details.subscription"]}

OPEN = "open"
"""Of an invoice's payments: it isn't over."""

UNFORESEEN = PaymentNow("unforeseen")
"""One that we know nothing of, without an intent or beyond those that are listed: nothing is tried beside it."""


class ChargeCalls:
    """Nobody waits for it, so all are in the lane of retries."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def invoice(self, invoice_id: str, *, deadline: Deadline) -> InvoiceNow:
        """As it is now, with its subscription and payments. Stripe has none (`resource_missing`) once it is deleted."""
        path = f"/v1/invoices/{segment(invoice_id)}"
        call = Call("invoices.retrieve", "get", path, WHOLE, Lane.RETRY, deadline)
        return invoice_now(self._requestor.send(call).data)

    def pay(self, invoice_id: str, payment_method: str, *, key: str, deadline: Deadline) -> str:
        """One attempt, now (402: declined). Returns the invoice's status after it: it may still be open."""
        path = f"/v1/invoices/{segment(invoice_id)}/pay"
        params = {"payment_method": payment_method}
        call = Call("invoices.pay", "post", path, params, Lane.RETRY, deadline, key)
        return Fields("invoice", self._requestor.send(call).data).get("status", str)

    def now(self, test_clock: str, *, deadline: Deadline) -> datetime:
        """The time by which whatever is on a test clock lives."""
        return frozen_time(self._requestor, test_clock, lane=Lane.RETRY, deadline=deadline)


def invoice_now(data: object) -> InvoiceNow:
    """An invoice that was asked for as `WHOLE`. Nothing but ids, states and codes is read: the rest is personal."""
    fields = Fields("invoice", data)
    payments = fields.object("payments")
    parent = fields.expanded("parent")
    details = None if parent is None else parent.expanded("subscription_details")
    subscription = None if details is None else details.expanded("subscription")
    return InvoiceNow(
        id=fields.get("id", str),
        status=fields.get("status", str),
        collection_method=fields.get("collection_method", str),
        billing_reason=fields.maybe("billing_reason", str),
        customer_id=fields.reference("customer"),
        subscription_id=None if subscription is None else subscription.get("id", str),
        subscription_status=None if subscription is None else subscription.get("status", str),
        attempt_count=fields.get("attempt_count", int),
        next_payment_attempt=fields.maybe_time("next_payment_attempt"),
        payments=(
            *(_payment(each.object("payment")) for each in payments.objects("data") if each.get("status", str) == OPEN),
            *([UNFORESEEN] if payments.flag("has_more") else []),
        ),
        test_clock=fields.maybe("test_clock", str),
    )


def _payment(payment: Fields) -> PaymentNow:
    intent = payment.expanded("payment_intent")
    if intent is None:
        return UNFORESEEN
    error = intent.expanded("last_payment_error")
    method = None if error is None else error.expanded("payment_method")
    if error is None or method is None:
        return PaymentNow(intent.get("status", str))
    code = error.text("decline_code") or error.text("code")
    return PaymentNow(intent.get("status", str), method.get("id", str), code)

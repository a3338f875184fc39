"""What pages of Stripe's ask for, and what is done once one is complete: Checkout, the portal, payments, resumptions.

https://docs.stripe.com/api/checkout/sessions, https://docs.stripe.com/api/customer_portal/sessions,
https://docs.stripe.com/api/invoices/pay, https://docs.stripe.com/api/subscriptions/resume
"""

from __future__ import annotations

from collections.abc import Mapping

from worker.domain.checkouts import CHECKOUT, SUBSCRIPTION, CheckoutSession
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer
from worker.stripe_api.account_calls import EXPANDED, Changing, changing
from worker.stripe_api.parsing import Fields
from worker.stripe_api.requestor import Call, Requestor, segment

SESSIONS = "/v1/checkout/sessions"


class CheckoutCalls:
    """Every write carries the caller's idempotency key; all are in the live lane."""

    def __init__(self, requestor: Requestor) -> None:
        self._requestor = requestor

    def open_checkout(self, params: Mapping[str, object], *, key: str, deadline: Deadline) -> CheckoutSession:
        """As it was when it was first asked for under `key`."""
        call = Call("checkout.sessions.create", "post", SESSIONS, {**params, **_INTENT}, Lane.LIVE, deadline, key)
        return checkout_session(self._requestor.send(call).data)

    def checkout(self, session_id: str, *, deadline: Deadline) -> CheckoutSession:
        """As it is now. Raises `Refused` where there is none."""
        path = f"{SESSIONS}/{segment(session_id)}"
        call = Call("checkout.sessions.retrieve", "get", path, _INTENT, Lane.LIVE, deadline)
        return checkout_session(self._requestor.send(call).data)

    def expire_checkout(self, session_id: str, *, key: str, deadline: Deadline) -> None:
        """Nobody can complete it any more. Stripe refuses it for one that isn't open."""
        path = f"{SESSIONS}/{segment(session_id)}/expire"
        self._requestor.send(Call("checkout.sessions.expire", "post", path, {}, Lane.LIVE, deadline, key))

    def open_portal(self, params: Mapping[str, object], *, key: str, deadline: Deadline) -> str:
        """The page's address."""
        path = "/v1/billing_portal/sessions"
        call = Call("billing_portal.sessions.create", "post", path, params, Lane.LIVE, deadline, key)
        return Fields("portal session", self._requestor.send(call).data).get("url", str)

    def pay_invoice(self, invoice_id: str, params: Mapping[str, object], *, key: str, deadline: Deadline) -> None:
        """One attempt, now (402: declined)."""
        path = f"/v1/invoices/{segment(invoice_id)}/pay"
        self._requestor.send(Call("invoices.pay", "post", path, params, Lane.LIVE, deadline, key))

    def resume_subscription(
        self, subscription_id: str, params: Mapping[str, object], *, key: str, deadline: Deadline
    ) -> Answer[Changing]:
        """As it is then: still paused, while the invoice that this makes isn't paid."""
        path = f"/v1/subscriptions/{segment(subscription_id)}/resume"
        call = Call("subscriptions.resume", "post", path, {**params, **EXPANDED}, Lane.LIVE, deadline, key)
        return self._requestor.send(call).answer(changing)


_INTENT = {"expand": ["setup_intent"]}


def checkout_session(data: object) -> CheckoutSession:
    """A session whose `setup_intent` was expanded."""
    fields = Fields("checkout session", data)
    intent = fields.maybe("setup_intent", dict)
    metadata = fields.get("metadata", dict)
    return CheckoutSession(
        id=fields.get("id", str),
        status=fields.get("status", str),
        mode=fields.get("mode", str),
        url=fields.maybe("url", str),
        customer_id=fields.maybe("customer", str),
        subscription_id=fields.maybe("subscription", str),
        payment_method=None if intent is None else Fields("setup intent", intent).maybe("payment_method", str),
        checkout_id=metadata.get(CHECKOUT),
        serves=metadata.get(SUBSCRIPTION),
    )

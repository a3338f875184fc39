"""The shapes of what payments are made of; as in `objects.py`, a test holds them to Stripe's OpenAPI."""

from __future__ import annotations

from typing import Any

from sandbox.stripe.objects import Obj


def payment_method(identifier: str, created: int, *, card: Obj, billing_details: Obj, metadata: Obj) -> Obj:
    empty = {"address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))}
    return {
        "id": identifier,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {**empty, **dict.fromkeys(("email", "name", "phone", "tax_id")), **billing_details},
        "card": card,
        "created": created,
        "customer": None,
        "livemode": False,
        "metadata": metadata,
        "type": "card",
    }


def card(number: str, *, brand: str, funding: str, expires: tuple[int, int], fingerprint: str) -> Obj:
    """`expires`: month and year."""
    return {
        "brand": brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
        "country": "US",
        "display_brand": "american_express" if brand == "amex" else brand,
        "exp_month": expires[0],
        "exp_year": expires[1],
        "fingerprint": fingerprint,
        "funding": funding,
        "generated_from": None,
        "last4": number[-4:],
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def setup_intent(identifier: str, created: int, secret: str, fields: Obj) -> Obj:
    empty: Obj = {
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{identifier}_secret_{secret}",
        "customer": None,
        "description": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }
    return {"id": identifier, "object": "setup_intent", "created": created, **empty, **fields}


def payment_intent(identifier: str, created: int, secret: str, bill: Obj) -> Obj:
    """The one that an invoice makes."""
    return {
        "id": identifier,
        "object": "payment_intent",
        "amount": bill["amount_remaining"],
        "amount_capturable": 0,
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{identifier}_secret_{secret}",
        "confirmation_method": "automatic",
        "created": created,
        "currency": bill["currency"],
        "customer": bill["customer"],
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": None,
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def redirect(url: str, intent: Obj, return_url: str | None) -> Obj:
    """The `next_action` of an intent whose card asks for its owner: the page at `url` that does."""
    page = {"return_url": return_url, "url": f"{url}/3d_secure/{intent['client_secret']}"}
    return {"redirect_to_url": page, "type": "redirect_to_url"}


def invoice_payment(identifier: str, created: int, bill: Obj, intent: str) -> Obj:
    """Ties a payment intent to its invoice; since 2025-03-31 the invoice itself names none."""
    return {
        "id": identifier,
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": bill["amount_remaining"],
        "created": created,
        "currency": bill["currency"],
        "invoice": bill["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent, "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


def test_clock(identifier: str, created: int, fields: Obj) -> Obj:
    """`fields` brings frozen_time and deletes_after."""
    empty: dict[str, Any] = {"livemode": False, "name": None, "status": "ready", "status_details": {}}
    return {"id": identifier, "object": "test_helpers.test_clock", "created": created, **empty, **fields}

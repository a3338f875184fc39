"""The shapes of a Checkout session and of its line items.

A session keeps under `_order` what it was asked to make, which no answer and no event shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.stripe.objects import Obj


def session(identifier: str, created: int, fields: Obj) -> Obj:
    """An open one; `fields` brings at least: expires_at, mode, success_url, url, `_order`."""
    empty: Obj = {
        "adaptive_pricing": None,
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": None,
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "currency": None,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer": None,
        "customer_account": None,
        "customer_creation": None,
        "customer_details": None,
        "customer_email": None,
        "discounts": None,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": None,
        "metadata": {},
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "total_details": None,
        "ui_mode": "hosted_page",
        "wallet_options": None,
    }
    return {"id": identifier, "object": "checkout.session", "created": created, **empty, **fields}


def shown(obj: Obj) -> Obj:
    """A session as answers and events have it."""
    return {name: value for name, value in obj.items() if not name.startswith("_")}


def customer_details(email: str | None, name: str | None) -> Obj:
    empty = dict.fromkeys(("address", "business_name", "individual_name", "phone"))
    return {**empty, "email": email, "name": name, "tax_exempt": "none", "tax_ids": []}


def line_item(identifier: str, price: Obj, quantity: int, description: str, *, trial: bool) -> Obj:
    """What is due today: nothing for a trial."""
    amount = 0 if trial else price["unit_amount"] * quantity
    return {
        "id": identifier,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": description,
        "metadata": {},
        "price": price,
        "quantity": quantity,
    }


def totals(items: Sequence[Obj]) -> Obj:
    amount = sum(item["amount_total"] for item in items)
    return {
        "amount_subtotal": amount,
        "amount_total": amount,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    }

"""The kinds of objects that there are: by which fields lists find them, and how their ids begin."""

from __future__ import annotations

CLOCK = "test_helpers.test_clock"
INDEXES = {
    "customer": ("email", "test_clock"),
    "product": (),
    "price": ("lookup_key", "product"),
    "subscription": ("customer", "test_clock"),
    "invoice": ("customer",),
    "invoice_payment": ("invoice",),
    "invoiceitem": ("customer",),
    "payment_intent": ("payment_method",),
    "payment_method": ("customer",),
    "setup_intent": ("customer", "payment_method"),
    "tax_id": ("customer",),
    "checkout.session": ("customer", "payment_intent", "setup_intent", "subscription"),
    "billing_portal.configuration": (),
    "billing_portal.session": ("url",),
    CLOCK: (),
    "event": (),
    "webhook_endpoint": (),
}
PREFIXES = {
    "cus": "customer",
    "prod": "product",
    "price": "price",
    "sub": "subscription",
    "in": "invoice",
    "inpay": "invoice_payment",
    "pi": "payment_intent",
    "pm": "payment_method",
    "seti": "setup_intent",
    "ii": "invoiceitem",
    "cs": "checkout.session",
    "bpc": "billing_portal.configuration",
    "bps": "billing_portal.session",
    "txi": "tax_id",
    "clock": CLOCK,
    "evt": "event",
}

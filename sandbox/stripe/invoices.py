"""The shape of an invoice, as subscriptions make them (`collection.py` has its life)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.stripe.agenda import HOUR
from sandbox.stripe.objects import Obj, listing


def amount_of(items: Sequence[Obj]) -> int:
    """What one period of these items costs, in minor currency units."""
    return sum(item["price"]["unit_amount"] * item["quantity"] for item in items)


def invoice(
    identifier: str,
    created: int,
    sub: Obj,
    customer: Obj,
    *,
    reason: str,
    trial: bool,
    added: Sequence[Obj] = (),
    period: bool = True,
) -> Obj:
    """A draft of the invoice of `sub`'s current period ($0 for a trial), or of none; `added`: what waited for one."""
    waited = [added_line(f"il_{item['id'][3:]}", identifier, item) for item in added]
    items = sub["items"]["data"] if period else []
    lines = [_line(f"il_{identifier[3:]}{place}", identifier, sub, item, trial) for place, item in enumerate(items)]
    lines = [*waited, *lines]
    total = sum(line["amount"] for line in lines)
    return {
        "id": identifier,
        "object": "invoice",
        "created": created,
        "currency": sub["currency"],
        "lines": listing(f"/v1/invoices/{identifier}/lines", lines, has_more=False),
        **_money(total),
        **_DRAFT,
        **_EMPTY,
        **_whose(sub, customer, reason),
        "period_end": created,
        "period_start": created,
    }


def _money(total: int) -> Obj:
    due = max(total, 0)
    paid = {"amount_due": due, "amount_paid": 0, "amount_remaining": due}
    zeros = (
        "amount_overpaid",
        "amount_paid_off_stripe",
        "amount_shipping",
        "post_payment_credit_notes_amount",
        "pre_payment_credit_notes_amount",
        "starting_balance",
    )
    sums = {"subtotal": total, "subtotal_excluding_tax": total, "total": total, "total_excluding_tax": total}
    return {**paid, **dict.fromkeys(zeros, 0), **sums, "ending_balance": 0}


def waiting(bill: Obj) -> Obj:
    """The draft as one that is finalized by itself, an hour after it was made."""
    when = bill["created"] + HOUR
    charged = bill["collection_method"] == "charge_automatically"
    return {
        **bill,
        "auto_advance": True,
        "automatically_finalizes_at": when,
        "next_payment_attempt": when if charged else None,
    }


def _whose(sub: Obj, customer: Obj, reason: str) -> Obj:
    parent = {
        "quote_details": None,
        "subscription_details": {"metadata": sub["metadata"], "subscription": sub["id"]},
        "type": "subscription_details",
    }
    return {
        "billing_reason": reason,
        "collection_method": sub["collection_method"],
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "parent": parent,
        "test_clock": sub["test_clock"],
    }


def _line(identifier: str, owner: str, sub: Obj, item: Obj, trial: bool) -> Obj:
    amount = 0 if trial else item["price"]["unit_amount"] * item["quantity"]
    fields = {
        "amount": amount,
        "currency": sub["currency"],
        "description": "Trial period" if trial else None,
        "discountable": True,
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pricing": _pricing(item, amount),
        "quantity": item["quantity"],
    }
    return _shaped(identifier, owner, fields, sub["id"], item["id"])


def added_line(identifier: str, owner: str, item: Obj) -> Obj:
    """The line of an invoice item."""
    names = ("amount", "currency", "description", "discountable", "period", "pricing", "quantity")
    source = item["parent"]["subscription_details"]
    fields = {name: item[name] for name in names}
    return _shaped(identifier, owner, fields, source["subscription"], source["subscription_item"], item["id"])


def _shaped(identifier: str, owner: str, fields: Obj, sub: str, item: str, added: str | None = None) -> Obj:
    source = {
        "invoice_item": added,
        "proration": added is not None,
        "proration_details": {"credited_items": None},
        "subscription": sub,
        "subscription_item": item,
    }
    return {
        "id": identifier,
        "object": "line_item",
        "discount_amounts": [],
        "discounts": [],
        "invoice": owner,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": source,
            "type": "subscription_item_details",
        },
        "pretax_credit_amounts": [],
        "subtotal": fields["amount"],
        "taxes": [],
        **fields,
    }


def _pricing(item: Obj, amount: int) -> Obj:
    details = {"price": item["price"]["id"], "product": item["price"]["product"]}
    unit = item["price"]["unit_amount_decimal"] if amount else "0"
    return {"price_details": details, "type": "price_details", "unit_amount_decimal": unit}


_DRAFT: dict[str, Any] = {
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": False,
    "effective_at": None,
    "number": None,
    "status": "draft",
    "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
}
_EMPTY: dict[str, Any] = {
    "account_country": "US",
    "account_name": None,
    "account_tax_ids": None,
    "application": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
    "automatically_finalizes_at": None,
    "custom_fields": None,
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "livemode": False,
    "metadata": {},
    "next_payment_attempt": None,
    "on_behalf_of": None,
    "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "statement_descriptor": None,
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}
"""Shared by all invoices: nothing in the ledger is changed in place."""

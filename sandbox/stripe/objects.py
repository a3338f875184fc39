"""The shapes of Stripe's objects (API version 2026-08-26.dahlia); a test holds them to Stripe's published OpenAPI.

Each function returns a new dict. An object in the ledger is never changed in place: an update builds a new one, so
events may keep the old. Times are whole seconds since the epoch, amounts are minor currency units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Obj: TypeAlias = dict[str, Any]

API_VERSION = "2026-08-26.dahlia"


def account(identifier: str) -> Obj:
    return {
        "id": identifier,
        "object": "account",
        "business_profile": None,
        "business_type": None,
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }


def customer(identifier: str, created: int, fields: Mapping[str, Any]) -> Obj:
    empty: Obj = {
        "address": None,
        "balance": 0,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": identifier[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    return {"id": identifier, "object": "customer", "created": created, **empty, **fields}


def deleted(obj: Obj) -> Obj:
    """What remains of a deleted customer, product or tax id."""
    return {"id": obj["id"], "object": obj["object"], "deleted": True}


def product(identifier: str, created: int, fields: Mapping[str, Any]) -> Obj:
    empty: Obj = {
        "active": True,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": created,
        "url": None,
    }
    return {"id": identifier, "object": "product", "created": created, **empty, **fields}


def price(identifier: str, created: int, fields: Mapping[str, Any]) -> Obj:
    empty: Obj = {
        "active": True,
        "billing_scheme": "per_unit",
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": None,
        "metadata": {},
        "nickname": None,
        "recurring": None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if fields.get("recurring") else "one_time",
        "unit_amount_decimal": str(fields["unit_amount"]),
    }
    return {"id": identifier, "object": "price", "created": created, **empty, **fields}


def recurring(interval: str, interval_count: int, usage_type: str) -> Obj:
    return {
        "interval": interval,
        "interval_count": interval_count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": usage_type,
    }


def subscription(identifier: str, created: int, fields: Mapping[str, Any]) -> Obj:
    """`fields` brings at least: billing_cycle_anchor, billing_mode, currency, customer, items, status."""
    empty: Obj = {
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor_config": None,
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": cancellation(),
        "collection_method": "charge_automatically",
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "latest_invoice": None,
        "livemode": False,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": created,
        "test_clock": None,
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }
    return {"id": identifier, "object": "subscription", "created": created, **empty, **fields}


def billing_mode(kind: str) -> Obj:
    """`classic` or `flexible` (the default since 2025-09-30)."""
    return {"type": kind, "flexible": {"proration_discounts": "included"} if kind == "flexible" else None}


def cancellation(reason: str | None = None, comment: str | None = None, feedback: str | None = None) -> Obj:
    return {"comment": comment, "feedback": feedback, "reason": reason}


def subscription_item(
    identifier: str, created: int, *, owner: str, price_: Obj, quantity: int, metadata: Obj, period: tuple[int, int]
) -> Obj:
    """One item; since 2025-03-31 the current period (`period`, start and end) lives here."""
    return {
        "id": identifier,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": created,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "discounts": [],
        "metadata": metadata,
        "price": price_,
        "quantity": quantity,
        "subscription": owner,
        "tax_rates": [],
    }


def event(identifier: str, created: int, kind: str, data: Obj, request: Obj) -> Obj:
    """Its version, and how many endpoints wait for it, are known once it is committed."""
    return {
        "id": identifier,
        "object": "event",
        "api_version": None,
        "created": created,
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": request,
        "type": kind,
    }


def listing(url: str, data: Sequence[Obj], *, has_more: bool) -> Obj:
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}


def search_result(url: str, data: Sequence[Obj], next_page: str | None) -> Obj:
    return {
        "object": "search_result",
        "data": list(data),
        "has_more": next_page is not None,
        "next_page": next_page,
        "url": url,
    }

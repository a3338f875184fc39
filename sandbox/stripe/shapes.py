"""Objects in the shape of an API version before 2025-03-31, made from those of today when they are shown.

Then a subscription had its `current_period_*` itself (its items have them too), an invoice and its lines named their
subscription, and `paid` was a field. Source: https://docs.stripe.com/changelog/basil#2025-03-31.basil.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sandbox.stripe.objects import Obj
from sandbox.stripe.versions import is_old

Find: TypeAlias = Callable[[str], Obj | None]
"""Any object by its id."""

_NEWER = {
    "invoice": {"amount_overpaid", "amount_paid_off_stripe", "parent", "total_taxes"},
    "line_item": {"parent", "pricing", "subtotal", "taxes"},
}


def rendered(value: Any, version: str, find: Find) -> Any:
    """`value` (an answer, or part of one) as `version` has it; events keep the version that they were made at."""
    return _older(value, find) if is_old(version) else value


def rendered_event(event: Obj, version: str, find: Find) -> Obj:
    """An event with its data as `version` has them."""
    data: Obj = event["data"]
    if is_old(version):
        obj = data["object"]
        data = {**data, "object": _older(obj, find)}
        if "previous_attributes" in data:
            data["previous_attributes"] = _older_previous(data["previous_attributes"], obj)
    return {**event, "api_version": version, "data": data}


def _older(value: Any, find: Find) -> Any:
    if isinstance(value, list):
        return [_older(item, find) for item in value]
    if not isinstance(value, dict) or value.get("object") == "event" or value.get("deleted"):
        return value
    kind = value.get("object")
    added = _ADDED[kind](value, find) if kind in _ADDED else {}
    dropped = _NEWER.get(str(kind), set())
    kept = {name: _older(child, find) for name, child in value.items() if name not in dropped}
    return {**kept, **added}


def _period(items: Sequence[Obj]) -> Obj:
    starts, ends = [item["current_period_start"] for item in items], [item["current_period_end"] for item in items]
    return {"current_period_end": max(ends), "current_period_start": min(starts)}


def _subscription(sub: Obj, _: Find) -> Obj:
    return _period(sub["items"]["data"])


def _invoice(bill: Obj, _: Find) -> Obj:
    details = _source(bill, "subscription_details")
    return {
        "charge": None,
        "paid": bill["status"] == "paid",
        "paid_out_of_band": False,
        "payment_intent": None,
        "quote": None,
        "subscription": details.get("subscription"),
        "subscription_details": {"metadata": details.get("metadata")},
        "tax": None,
        "total_tax_amounts": [],
    }


def _line(line: Obj, find: Find) -> Obj:
    source = _source(line, "subscription_item_details") or _source(line, "invoice_item_details")
    pricing: Obj = line["pricing"] or {}
    price = pricing.get("price_details", {}).get("price")
    return {
        "price": find(price) if isinstance(price, str) else price,
        "proration": source.get("proration", False),
        "proration_details": source.get("proration_details"),
        "subscription": source.get("subscription"),
        "subscription_item": source.get("subscription_item"),
        "tax_amounts": [],
        "tax_rates": [],
        "type": "subscription" if source.get("subscription_item") and not source.get("proration") else "invoiceitem",
        "unit_amount_excluding_tax": pricing.get("unit_amount_decimal"),
    }


def _source(obj: Obj, name: str) -> Obj:
    """What `parent` says of where this comes from; nothing where it doesn't."""
    return (obj["parent"] or {}).get(name) or {}


_ADDED: dict[Any, Callable[[Obj, Find], Obj]] = {
    "subscription": _subscription,
    "invoice": _invoice,
    "line_item": _line,
}


def _older_previous(previous: Obj, obj: Obj) -> Obj:
    """What changed, in the fields that there were."""
    kind = str(obj["object"])
    older = {name: old for name, old in previous.items() if name not in _NEWER.get(kind, set())}
    if kind == "subscription" and "data" in previous.get("items", {}):
        now = _period(obj["items"]["data"])
        older |= {name: old for name, old in _period(previous["items"]["data"]).items() if old != now[name]}
    if kind == "invoice" and "paid" in (previous.get("status"), obj["status"]) and "status" in previous:
        older["paid"] = previous["status"] == "paid"
    return older

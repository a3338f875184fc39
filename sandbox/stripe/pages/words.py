"""Money, dates, plans and cards as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox.stripe.ledger import Transaction
from sandbox.stripe.objects import Obj

_WHOLE = {
    *("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"),
    *("pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"),
}
"""The currencies without minor units (https://docs.stripe.com/currencies#zero-decimal)."""


def money(amount: int, currency: str) -> str:
    """`amount` in minor units."""
    return f"{amount} {currency.upper()}" if currency in _WHOLE else f"{amount / 100:.2f} {currency.upper()}"


def date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %B %Y").lstrip("0")


def price(tx: Transaction, obj: Obj) -> str:
    """A price with its product's name."""
    product = tx.ledger.tables["product"].rows[obj["product"]].get("name", obj["product"])
    recurring = obj["recurring"]
    count = recurring["interval_count"]
    every = recurring["interval"] if count == 1 else f"{count} {recurring['interval']}s"
    return f"{product}, {money(obj['unit_amount'], obj['currency'])} per {every}"


def card(method: Obj) -> str:
    known = method["card"]
    return f"{known['brand'].title()} •••• {known['last4']}, expires {known['exp_month']:02}/{known['exp_year']}"

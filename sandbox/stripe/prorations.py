"""What a change of a subscription's items within its period costs: unused time back, remaining time charged.

By the second, as invoice items that wait for the subscription's next invoice. What comes out below nothing is credited
to the customer's balance. Source: https://docs.stripe.com/billing/subscriptions/prorations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.stripe.invoices import amount_of
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.objects import Obj

_PRORATED = ("active", "past_due")


def prorations(tx: Transaction, before: Obj, after: Obj, *, whole: bool) -> list[Obj]:
    """The invoice items of a change, what is given back first; not recorded yet. `whole`: a new period begins, so that
    nothing of the old one remains to be charged."""
    if before["status"] not in _PRORATED:
        return []
    old = {item["id"]: item for item in before["items"]["data"]}
    new = {item["id"]: item for item in after["items"]["data"]}
    changed = [name for name in {**old, **new} if whole or _bought(old.get(name)) != _bought(new.get(name))]
    returned = [_part(tx, before, old[name], sign=-1) for name in changed if name in old]
    charges = [_part(tx, before, new[name], sign=1) for name in changed if name in new and not whole]
    return [item for item in (*returned, *charges) if item["amount"]]


def _bought(item: Obj | None) -> tuple[str, int] | None:
    return None if item is None else (item["price"]["id"], item["quantity"])


def _part(tx: Transaction, sub: Obj, item: Obj, *, sign: int) -> Obj:
    end = item["current_period_end"]
    length = end - item["current_period_start"]
    left = max(0, min(length, end - tx.now))
    amount = (2 * amount_of([item]) * left + length) // (2 * length)
    words = "Unused time" if sign < 0 else "Remaining time"
    return _invoice_item(tx, sub, item, sign * amount, f"{words} on {item['price']['id']}", (tx.now, end))


def _invoice_item(tx: Transaction, sub: Obj, item: Obj, amount: int, description: str, period: tuple[int, int]) -> Obj:
    parent = {
        "subscription_details": {"subscription": sub["id"], "subscription_item": item["id"]},
        "type": "subscription_details",
    }
    details = {"price": item["price"]["id"], "product": item["price"]["product"]}
    fields: dict[str, Any] = {
        "description": description,
        "discountable": False,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": {},
        "parent": parent,
        "period": {"end": period[1], "start": period[0]},
        "pricing": {
            "price_details": details,
            "type": "price_details",
            "unit_amount_decimal": item["price"]["unit_amount_decimal"],
        },
        "proration": True,
        "proration_details": {"discount_amounts": []},
        "quantity": item["quantity"],
        "quantity_decimal": str(item["quantity"]),
        "tax_rates": [],
        "test_clock": sub["test_clock"],
    }
    made = {"amount": amount, "currency": sub["currency"], "customer": sub["customer"], "date": tx.now}
    return {"id": tx.ids.long("ii"), "object": "invoiceitem", **made, **fields}


def record(tx: Transaction, items: Sequence[Obj]) -> None:
    """They wait for the next invoice from now on."""
    for item in items:
        tx.emit("invoiceitem.created", tx.put(item))


def waiting(tx: Transaction, sub: Obj) -> list[Obj]:
    """The subscription's invoice items that no invoice has taken yet, oldest first."""
    known = {item["id"]: item for item in tx.ledger.tables["invoiceitem"].by("customer", sub["customer"])}
    known |= {name: obj for name, obj in tx.puts.items() if obj["object"] == "invoiceitem"}
    return [
        item
        for item in known.values()
        if item["invoice"] is None and item["parent"]["subscription_details"]["subscription"] == sub["id"]
    ]


def due(tx: Transaction, sub: Obj, amount: int) -> int:
    """What an invoice of so much would ask of the customer, whose balance counts."""
    return max(0, amount + int(tx.get(sub["customer"])["balance"]))


def settle_balance(tx: Transaction, bill: Obj) -> Obj:
    """The invoice with what the customer's balance leaves to be paid; a credit goes to the balance."""
    start = tx.get(bill["customer"])["balance"]
    if start == 0 and bill["total"] >= 0:
        return bill
    left = start + bill["total"]
    end, asked = min(left, 0), max(left, 0)
    _move_balance(tx, bill["customer"], end - start)
    return {**bill, "amount_due": asked, "amount_remaining": asked, "ending_balance": end, "starting_balance": start}


def restore_balance(tx: Transaction, bill: Obj) -> None:
    """What a void invoice had taken of the customer's balance, or asked for it, is there again."""
    _move_balance(tx, bill["customer"], bill["starting_balance"] - bill["ending_balance"])


def _move_balance(tx: Transaction, customer: str, amount: int) -> None:
    before = tx.find(customer)
    if before is not None and amount:
        tx.emit("customer.updated", tx.put({**before, "balance": before["balance"] + amount}), before)

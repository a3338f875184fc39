"""What charging a card comes to: whether its owner was asked, whether it was set up before."""

from __future__ import annotations

from sandbox.stripe import cards
from sandbox.stripe.ledger import Transaction
from sandbox.stripe.objects import Obj


def charging(tx: Transaction, method: Obj) -> cards.Outcome:
    authenticated = method["id"] in tx.authenticated
    return cards.charging(method, tx.now, authenticated=authenticated, set_up=_set_up(tx, method["id"]))


def _set_up(tx: Transaction, method: str) -> bool:
    """By an intent to set it up that succeeded, or by a payment at which its owner was asked."""
    tables = tx.ledger.tables
    if any(intent["status"] == "succeeded" for intent in tables["setup_intent"].by("payment_method", method)):
        return True
    paid = tables["payment_intent"].by("payment_method", method)
    return any(intent["status"] == "succeeded" and intent["setup_future_usage"] is not None for intent in paid)

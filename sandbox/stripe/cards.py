"""Stripe's test cards, by their published numbers: what attaching one and charging it comes to.

A payment method remembers its card by its last four digits, as Stripe's API shows them; nothing hidden decides.
Source: https://docs.stripe.com/testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from sandbox.stripe.errors import ApiError
from sandbox.stripe.objects import Obj


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a card was declined; `code` and `decline_code` as Stripe's."""

    code: str
    decline_code: str
    message: str


_GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.")
_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
_LOST = Decline("card_declined", "lost_card", "Your card was declined.")
_STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.")
_PROCESSING = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.")
_UNAUTHENTICATED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
Outcome: TypeAlias = Decline | Literal["paid", "action"]


@dataclass(frozen=True, slots=True)
class TestCard:
    """`attach` and `charge` are the declines that these meet; `authenticate`: every payment asks for the customer."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    attach: Decline | None = None
    charge: Decline | None = None
    authenticate: bool = False


BY_NAME = {
    "visa": TestCard("4242424242424242"),
    "visa_debit": TestCard("4000056655665556", funding="debit"),
    "mastercard": TestCard("5555555555554444", "mastercard"),
    "amex": TestCard("378282246310005", "amex"),
    "discover": TestCard("6011111111111117", "discover"),
    "chargeDeclined": TestCard("4000000000000002", attach=_GENERIC),
    "chargeDeclinedInsufficientFunds": TestCard("4000000000009995", attach=_FUNDS),
    "chargeDeclinedLostCard": TestCard("4000000000009987", attach=_LOST),
    "chargeDeclinedStolenCard": TestCard("4000000000009979", attach=_STOLEN),
    "chargeDeclinedExpiredCard": TestCard("4000000000000069", attach=EXPIRED),
    "chargeDeclinedProcessingError": TestCard("4000000000000119", attach=_PROCESSING),
    "chargeCustomerFail": TestCard("4000000000000341", charge=_GENERIC),
    "authenticationRequired": TestCard("4000002760003184", authenticate=True),
}
BY_NUMBER = {card.number: card for card in BY_NAME.values()}
_BY_LAST4 = {card.number[-4:]: card for card in BY_NAME.values()}


def attaching(method: Obj, now: int) -> Outcome:
    """What setting the card up for a customer comes to: as a charge, except that card 0341 passes."""
    card = _BY_LAST4[method["card"]["last4"]]
    if card.attach is not None:
        return card.attach
    return EXPIRED if _expired(method, now) else "paid"


def charging(method: Obj, now: int) -> Outcome:
    """What a payment without the customer at hand comes to, at `now` of the payer's clock."""
    card = _BY_LAST4[method["card"]["last4"]]
    declined = card.attach or card.charge
    if declined is not None:
        return declined
    if _expired(method, now):
        return EXPIRED
    return "action" if card.authenticate else "paid"


def asks_customer(method: Obj) -> bool:
    """Whether this card is authenticated before it is set up."""
    return _BY_LAST4[method["card"]["last4"]].authenticate


def _expired(method: Obj, now: int) -> bool:
    """A card is good until its month is over."""
    today = datetime.fromtimestamp(now, UTC)
    return (method["card"]["exp_year"], method["card"]["exp_month"]) < (today.year, today.month)


def problem(outcome: Outcome, method: Obj) -> dict[str, Any]:
    """What an object remembers of its last payment that failed (`last_payment_error`)."""
    decline = outcome if isinstance(outcome, Decline) else _UNAUTHENTICATED
    return {**_fields(decline), "message": decline.message, "payment_method": method, "type": "card_error"}


def _fields(decline: Decline) -> dict[str, Any]:
    link = f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}"
    return {"code": decline.code, "decline_code": decline.decline_code, "doc_url": link}


def declined(outcome: Outcome, method: Obj, **details: Any) -> ApiError:
    """402 for a payment (or an attachment) that failed; what was done until then stays."""
    decline = outcome if isinstance(outcome, Decline) else _UNAUTHENTICATED
    return ApiError(
        402,
        decline.message,
        code=decline.code,
        kind="card_error",
        saved=True,
        details={"decline_code": decline.decline_code, "payment_method": method, **details},
        keeps=True,
    )

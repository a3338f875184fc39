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
_CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
Authenticate: TypeAlias = Literal["never", "always", "until it is set up"]
_UNTIL_SET_UP: Authenticate = "until it is set up"
Outcome: TypeAlias = Decline | Literal["paid", "action"]


@dataclass(frozen=True, slots=True)
class TestCard:
    """`attach` and `charge` are the declines that these meet; `authenticate`: whether payments ask for the customer."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    attach: Decline | None = None
    charge: Decline | None = None
    authenticate: Authenticate = "never"


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
    "chargeDeclinedIncorrectCvc": TestCard("4000000000000127", attach=_CVC),
    "chargeCustomerFail": TestCard("4000000000000341", charge=_GENERIC),
    "authenticationRequired": TestCard("4000002760003184", authenticate="always"),
    "authenticationRequiredOnSetup": TestCard("4000002500003155", authenticate=_UNTIL_SET_UP),
    "authenticationRequiredChargeDeclinedInsufficientFunds": TestCard(
        "4000008260003178", charge=_FUNDS, authenticate=_UNTIL_SET_UP
    ),
}
BY_NUMBER = {card.number: card for card in BY_NAME.values()}
_BY_LAST4 = {card.number[-4:]: card for card in BY_NAME.values()}


def attaching(method: Obj, now: int) -> Decline | None:
    """What setting the card up for a customer comes to: as a charge, except that card 0341 passes."""
    card = _BY_LAST4[method["card"]["last4"]]
    if card.attach is not None:
        return card.attach
    return EXPIRED if _expired(method, now) else None


def charging(method: Obj, now: int, *, authenticated: bool = False, set_up: bool = False) -> Outcome:
    """What a payment comes to, at `now` of the payer's clock. `authenticated`: its owner has just said so; `set_up`: it
    was set up for payments without its owner before."""
    card = _BY_LAST4[method["card"]["last4"]]
    asks = card.authenticate == "always" or (card.authenticate == _UNTIL_SET_UP and not set_up)
    if asks and not authenticated:
        return "action"
    declined = card.attach or card.charge
    if declined is not None:
        return declined
    return EXPIRED if _expired(method, now) else "paid"


def asks_customer(method: Obj) -> bool:
    """Whether this card is authenticated before it is set up."""
    return _BY_LAST4[method["card"]["last4"]].authenticate != "never"


def _expired(method: Obj, now: int) -> bool:
    """A card is good until its month is over."""
    today = datetime.fromtimestamp(now, UTC)
    return (method["card"]["exp_year"], method["card"]["exp_month"]) < (today.year, today.month)


def problem(decline: Decline, method: Obj) -> dict[str, Any]:
    """What an object remembers of its last payment that failed (`last_payment_error`)."""
    return {**_fields(decline), "message": decline.message, "payment_method": method, "type": "card_error"}


def refusal(kind: str) -> Decline:
    """The owner was asked, and said no; `kind` of intent: `setup` or `payment`. No bank declined it."""
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    )
    return Decline(f"{kind}_intent_authentication_failure", "", message)


def _fields(decline: Decline) -> dict[str, Any]:
    link = f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}"
    why = {"decline_code": decline.decline_code} if decline.decline_code else {}
    return {"code": decline.code, "doc_url": link, **why}


def unpaid(outcome: Outcome | None, method: Obj, of: str) -> ApiError:
    """402 for a payment that was not made; `of` what: `invoice` or `subscription`. One that waits for the card's owner
    is no decline (https://docs.stripe.com/error-codes#invoice-payment-intent-requires-action)."""
    if isinstance(outcome, Decline):
        return declined(outcome, method)
    message = (
        "This payment requires additional user action before it can be completed successfully. Payment can be completed"
        f" using the PaymentIntent associated with the {of}."
    )
    return ApiError(
        402, message, code=f"{of}_payment_intent_requires_action", kind="card_error", saved=True, keeps=True
    )


def declined(decline: Decline, method: Obj, **details: Any) -> ApiError:
    """402 for a payment (or an attachment) that failed; what was done until then stays."""
    why = {"decline_code": decline.decline_code} if decline.decline_code else {}
    return ApiError(
        402,
        decline.message,
        code=decline.code,
        kind="card_error",
        saved=True,
        details={**why, "payment_method": method, **details},
        keeps=True,
    )

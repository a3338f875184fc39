"""The fields of a card, and the payment method that they make."""

from __future__ import annotations

import re
from typing import Any

from sandbox.stripe import cards, payment_methods
from sandbox.stripe.call import Context
from sandbox.stripe.checkout.completing import asked
from sandbox.stripe.errors import ApiError, refused
from sandbox.stripe.forms import Form, text_at
from sandbox.stripe.objects import Obj
from sandbox.stripe.pages import html
from sandbox.stripe.params import email as address

_EXPIRY = re.compile(r"\s*(\d{1,2})\s*/\s*(\d{4}|\d{2})\s*")
_CVC = re.compile(r"\d{3,4}")


def fields(sent: Form, *, email: bool, needs_email: bool = False, needs_card: bool = True) -> str:
    """The form's, with what was `sent` before but for the security code."""
    must = {"required": ""} if needs_card else {}
    number = {"inputmode": "numeric", "autocomplete": "cc-number", **must}
    code = {"inputmode": "numeric", "autocomplete": "cc-csc", "maxlength": "4", **must}
    expiry = {"placeholder": "12/34", "autocomplete": "cc-exp", **must}
    parts = [
        html.field("number", "Card number", _sent(sent, "number"), **number),
        html.field("expiry", "Expires (MM/YY)", _sent(sent, "expiry"), **expiry),
        html.field("cvc", "Security code", **code),
        html.field("name", "Name on card", _sent(sent, "name"), autocomplete="cc-name"),
    ]
    if email:
        more = {"required": ""} if needs_email else {}
        parts.insert(0, html.field("email", "Email", _sent(sent, "email"), type="email", autocomplete="email", **more))
    rows = "".join(f"<tr><td><code>{card.number}</code></td><td>{words}</td></tr>" for card, words in _SHOWN)
    listed = (
        f"<details><summary>Test cards</summary><table>{rows}</table><small>Any later date, any code.</small></details>"
    )
    return "".join([*parts, listed])


_SHOWN = [
    (cards.BY_NAME["visa"], "pays"),
    (cards.BY_NAME["mastercard"], "pays"),
    (cards.BY_NAME["chargeDeclined"], "is declined"),
    (cards.BY_NAME["chargeDeclinedInsufficientFunds"], "has insufficient funds"),
    (cards.BY_NAME["chargeCustomerFail"], "is saved, and declined when it is charged"),
    (cards.BY_NAME["authenticationRequiredOnSetup"], "asks you once (3-D Secure)"),
    (cards.BY_NAME["authenticationRequired"], "asks you each time (3-D Secure)"),
]


def _sent(form: Form, name: str) -> str:
    return text_at(form, name) or ""


def entered_email(form: Form) -> str | None:
    """Raises 400 for what is no address."""
    entered = _sent(form, "email").strip()
    found: str | None = address(entered, "email") if entered else None
    return found


def new_card(ctx: Context, form: Form) -> Obj:
    """The payment method, which is nobody's yet. Raises 402 for what can't be a card."""
    number = re.sub(r"\D", "", _sent(form, "number"))
    if number not in cards.BY_NUMBER:
        raise _wrong("incorrect_number", "Your card number is incorrect. Only Stripe's test cards are known here.")
    expiry = _EXPIRY.fullmatch(_sent(form, "expiry"))
    if expiry is None or not 1 <= int(expiry[1]) <= 12:
        raise _wrong("invalid_expiry_month", "Your card's expiration date is invalid.")
    if not _CVC.fullmatch(_sent(form, "cvc").strip()):
        raise _wrong("invalid_cvc", "Your card's security code is invalid.")
    year = int(expiry[2]) if len(expiry[2]) == 4 else 2000 + int(expiry[2])
    about: dict[str, Any] = {"name": _sent(form, "name").strip() or None, "email": entered_email(form)}
    card = {"number": number, "exp_month": int(expiry[1]), "exp_year": year}
    return payment_methods.create(asked(ctx, {"type": "card", "card": card, "billing_details": about}))


def _wrong(code: str, message: str) -> ApiError:
    return refused(message, code=code)

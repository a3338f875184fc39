"""Charging in order: which card an invoice is tried with whose payment was declined, and when none is.

By what Stripe says right before: the invoice, its subscription and its payments
(https://docs.stripe.com/api/invoices/pay, https://docs.stripe.com/declines/codes).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from worker.domain.provisioning import KEY_TRUSTED_FOR
from worker.domain.stripe_facts import TERMINAL_STATUSES

CURED_BY_ANOTHER_CARD = frozenset(
    {
        "approve_with_id", "call_issuer", "card_not_supported", "card_velocity_exceeded", "currency_not_supported",
        "do_not_honor", "do_not_try_again", "expired_card", "generic_decline", "incorrect_cvc", "incorrect_number",
        "incorrect_zip", "insufficient_funds", "invalid_account", "invalid_cvc", "invalid_expiry_month",
        "invalid_expiry_year", "invalid_number", "issuer_not_available", "lost_card",
        "new_account_information_available", "no_action_taken", "not_permitted", "offline_pin_required",
        "online_or_offline_pin_required", "pickup_card", "pin_try_exceeded", "processing_error", "reenter_transaction",
        "restricted_card", "security_violation", "service_not_allowed", "stolen_card", "transaction_not_allowed",
        "try_again_later", "withdrawal_count_limit_exceeded",
    }
)  # fmt: skip
"""Decline codes (else error codes) that are about a card and its bank. Not here: what asks for the payer
(`authentication_required`), what doubts the payer (`fraudulent`, `merchant_blacklist`), what the payer has said no to
(`stop_payment_order`, `revocation_of_authorization`), and what isn't known."""

MARGIN = timedelta(minutes=10)
"""So close to Stripe's own next attempt, before or after it, nothing is tried: that one may be under way."""


class PaymentNow(NamedTuple):
    """A payment of an invoice that isn't over. `status`: its intent's. `tried`: the payment method that was declined
    last, if one was, with which `code`."""

    status: str
    tried: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceNow:
    """An invoice as Stripe has it. `payments`: those that aren't over. `test_clock`: whose time it lives by."""

    id: str
    status: str
    collection_method: str
    billing_reason: str | None
    customer_id: str
    subscription_id: str | None
    subscription_status: str | None
    attempt_count: int
    next_payment_attempt: datetime | None
    payments: tuple[PaymentNow, ...]
    test_clock: str | None = None

    @property
    def tried(self) -> list[str]:
        """The payment methods that were declined last."""
        return [each.tried for each in self.payments if each.tried is not None]


class TryOutcome(StrEnum):
    PAID = "paid"
    PENDING = "pending"
    """Stripe took it, and doesn't know yet whether it is paid."""
    DECLINED = "declined"
    REFUSED = "refused"
    """Stripe takes no such attempt, whatever the card."""
    OVERTAKEN = "overtaken"
    """Whether it was made doesn't matter any more: Stripe has gone on by itself."""


@dataclass(frozen=True, slots=True)
class Try:
    """A row of `charge_tries`: an invoice's, at an `attempt_count`. `asked_for`: how long ago it was first sent under
    the key of `generation`. `outcome`: None while there is no answer."""

    invoice_id: str
    attempt_count: int
    payment_method: str
    generation: int = 1
    asked_for: timedelta = timedelta()
    outcome: TryOutcome | None = None

    @property
    def is_forgotten(self) -> bool:
        """Whether Stripe may have forgotten its key."""
        return self.asked_for > KEY_TRUSTED_FOR

    def renewed(self) -> Try:
        return replace(self, generation=self.generation + 1, asked_for=timedelta())

    def key(self, namespace: str) -> str:
        """The idempotency key: no personal data in it."""
        named = [self.invoice_id, self.attempt_count, self.payment_method, self.generation]
        return "subkeeper-" + hashlib.sha256(json.dumps([namespace, "charge", *named]).encode()).hexdigest()


class Leave(NamedTuple):
    """Nothing is to be tried. What changes that is told by another event."""

    why: str


class Wait(NamedTuple):
    """Not before this time of Stripe's."""

    until: datetime
    why: str


class Attempt(NamedTuple):
    """This card is tried. `elsewhere`: those that were just declined, which nobody tries again at this attempt."""

    payment_method: str
    elsewhere: tuple[str, ...]


def barred(invoice: InvoiceNow, now: datetime) -> Leave | Wait | None:
    """Why no card at all may be tried now. `now`: by the invoice's clock."""
    first = invoice.subscription_status == "incomplete" and invoice.billing_reason == "subscription_create"
    under_way = [each.status for each in invoice.payments if each.status != "requires_payment_method"]
    reasons = (
        (invoice.status != "open", invoice.status),
        (invoice.collection_method != "charge_automatically", "not_charged_automatically"),
        (invoice.subscription_id is None or invoice.subscription_status is None, "no_subscription"),
        (invoice.subscription_status in TERMINAL_STATUSES, "subscription_ended"),
        (first, "first_invoice"),
        (bool(under_way), f"payment_{under_way[0]}" if under_way else ""),
    )
    for holds, why in reasons:
        if holds:
            return Leave(why)
    following = invoice.next_payment_attempt
    if following is not None and abs(following - now) <= MARGIN:
        return Wait(following + MARGIN, "stripes_own_attempt")
    return None


def next_try(
    invoice: InvoiceNow, cards: Sequence[str], tried: Collection[str], now: datetime
) -> Leave | Wait | Attempt:
    """The next card, in the order of `cards`, of those not `tried` at this attempt, and not just declined."""
    bar = barred(invoice, now) or _uncured(invoice)
    if bar is not None:
        return bar
    just_declined = tuple(dict.fromkeys(invoice.tried))
    left = [card for card in cards if card not in tried and card not in just_declined]
    return Attempt(left[0], just_declined) if left else Leave("no_card_left")


def _uncured(invoice: InvoiceNow) -> Leave | None:
    """Where it is no decline that another card may cure."""
    codes = {each.code for each in invoice.payments if each.tried is not None}
    if not codes:
        return Leave("not_declined")
    return None if codes <= CURED_BY_ANOTHER_CARD else Leave("another_card_cures_it_not")


def come_to(invoice: InvoiceNow, asked: Try) -> TryOutcome | None:
    """What a try without an answer has come to, by what its payments say where its key tells no more; None: nothing, so
    that it is asked for in the next generation."""
    if invoice.status == "paid":
        return TryOutcome.PAID
    if asked.payment_method in invoice.tried:
        return TryOutcome.DECLINED
    if invoice.attempt_count != asked.attempt_count:
        return TryOutcome.OVERTAKEN
    return None


def given_up(invoice: InvoiceNow) -> TryOutcome:
    """What a try without an answer has come to where nothing may be tried any more."""
    return TryOutcome.PAID if invoice.status == "paid" else TryOutcome.OVERTAKEN

"""Checkout: which page a user is sent to, and what comes of one that is complete.

Everybody has a subscription by their signup. So Checkout in its subscription mode would begin a second one: while the
first hasn't ended, the page only collects a card (setup mode), and the plan is changed once it is complete, by what the
subscription is then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from worker.domain.account_changes import PAYS, ChangeRefused, Step
from worker.domain.changing import Changeable
from worker.domain.statuses import meaning
from worker.domain.stripe_facts import SubscriptionFact
from worker.errors import SubkeeperError, TryLater

CHECKOUT = "subkeeper_checkout"
SUBSCRIPTION = "subkeeper_subscription"
"""Metadata keys of a session and its setup intent: our row's id, and the subscription that it is for."""

PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
"""What Stripe replaces in `success_url` (https://docs.stripe.com/payments/checkout/custom-success-page)."""

MAX_URL = 2048


class Mode(StrEnum):
    """Stripe's, those of them that are used here."""

    SETUP = "setup"
    SUBSCRIPTION = "subscription"


class CheckoutState(StrEnum):
    OPENING = "opening"
    OPEN = "open"
    COMPLETE = "complete"
    """Stripe has said so; nothing has been done about it yet."""
    APPLYING = "applying"
    APPLIED = "applied"
    FAILED = "failed"
    EXPIRED = "expired"


class Terms(NamedTuple):
    """What every page is opened with. `currency`: of all plans."""

    namespace: str
    billing_mode: str
    currency: str


class CheckoutSession(NamedTuple):
    """A session as Stripe has it. `payment_method`: what its setup intent has collected. `checkout_id` and
    `serves`: our row and its subscription, by the metadata."""

    id: str
    status: str
    mode: str
    url: str | None
    customer_id: str | None
    subscription_id: str | None
    payment_method: str | None
    checkout_id: str | None
    serves: str | None


# Opening


def theirs(found: Iterable[SubscriptionFact], digest: str, rows: Mapping[str, bool] | None) -> list[SubscriptionFact]:
    """Of a customer's subscriptions those of a user. `rows`: whether those that have rows are the user's, where the
    customer is shared: there the digest alone says so of any other. Else (None) one with another user's digest is
    theirs, and all others are the user's."""
    if rows is None:
        return [each for each in found if each.user_digest in {None, digest}]
    return [each for each in found if rows.get(each.id, each.user_digest == digest)]


def served(found: Iterable[SubscriptionFact], current: str | None) -> SubscriptionFact | None:
    """Of a user's subscriptions the one that a plan is chosen for; None: all have ended, and a new one begins.
    `current`: the user's by our ledger."""
    living = [each for each in found if not each.is_terminal]
    return min(living, key=lambda each: (each.id != current, each.status == "incomplete", _age(each)), default=None)


def setup_request(
    terms: Terms, checkout_id: UUID, user_id: str, digest: str, customer_id: str, serves: str | None, urls: Urls
) -> Mapping[str, object]:
    """A page that collects a card for `serves`; None: for whatever the customer is charged for."""
    metadata = _metadata(checkout_id, user_id, digest) | ({SUBSCRIPTION: serves} if serves is not None else {})
    return {
        "mode": Mode.SETUP.value,
        "customer": customer_id,
        "currency": terms.currency,
        "metadata": metadata,
        "setup_intent_data": {"metadata": metadata},
        **urls.parameters(),
    }


def subscription_request(
    terms: Terms, checkout_id: UUID, user_id: str, digest: str, customer_id: str, price_id: str, urls: Urls
) -> Mapping[str, object]:
    """A page that begins a subscription, with no trial: the user has had theirs."""
    return {
        "mode": Mode.SUBSCRIPTION.value,
        "customer": customer_id,
        "line_items": [{"price": price_id, "quantity": 1}],
        "metadata": _metadata(checkout_id, user_id, digest),
        "subscription_data": {
            "billing_mode": {"type": terms.billing_mode},
            "metadata": {"subkeeper": digest, "user_id": user_id},
        },
        **urls.parameters(),
    }


def _metadata(checkout_id: UUID, user_id: str, digest: str) -> dict[str, str]:
    return {"subkeeper": digest, "user_id": user_id, CHECKOUT: str(checkout_id)}


class Urls(NamedTuple):
    """Where the page leads back to: they only show state."""

    success: str
    cancel: str

    def parameters(self) -> Mapping[str, str]:
        return {"success_url": self.success, "cancel_url": self.cancel}


def may_return_to(url: str, origins: Iterable[str]) -> bool:
    """Whether a page of Stripe's may lead there: `origins` are `scheme://host[:port]` in lower case.

    What browsers and `urlsplit` read differently (a backslash, control characters, a user before the host) is refused:
    https://url.spec.whatwg.org.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`|'):
        return False
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}" in set(origins)


# What comes of one that is complete


def completing_steps(mode: Mode, plan: str | None) -> tuple[Step, ...]:
    """In their order; each is left out where the subscription, as it is then, doesn't need it."""
    if mode is Mode.SUBSCRIPTION:
        return (Step.COLLECT, Step.ONLY, Step.TAKEN_IN)
    if plan is None:
        return (Step.COLLECT, Step.CUSTOMER_CARD)
    return (
        Step.COLLECT, Step.TAKEN_IN, Step.CARD, Step.CUSTOMER_CARD, Step.PAY, Step.PLAN, Step.RESUME, Step.PAY_RESUMED,
    )  # fmt: skip


class CameToNothing(SubkeeperError):
    """A resumption whose invoice became void before it was paid: it is asked for once more, in a new generation."""


def require_living(now: Changeable) -> None:
    """Raises `ChangeRefused` for a subscription that has ended: the next page begins another one."""
    if not meaning(now.status, is_pending=False).current:
        raise ChangeRefused("subscription_ended", "the subscription has ended meanwhile: begin anew")


def completing_request(step: Step, now: Changeable, card: str) -> Mapping[str, object] | None:
    """What a step of it asks, but for the plan (`plan_request`); None: nothing.

    What is owed is paid first, then the plan changes: an invoice is for the plan that it was made for. A resumption
    whose invoice is open goes on when that is paid, and can't be begun anew.
    """
    require_living(now)
    if step is Step.CARD:
        return None if now.default_payment_method == card else {"default_payment_method": card}
    if step in PAYS:
        if step is Step.PAY_RESUMED:
            _require_resumed(now)
        return {"invoice": now.invoice_id, "payment_method": card} if is_payable(now) else None
    return {"billing_cycle_anchor": "now"} if now.status == "paused" and not is_payable(now) else None


def is_payable(now: Changeable) -> bool:
    """Whether its latest invoice keeps it from being active. Of an `unpaid` one that may be a draft, which is finalized
    when it is paid (https://docs.stripe.com/api/invoices/pay)."""
    waits = now.invoice_status == "open" or (now.invoice_status == "draft" and now.status == "unpaid")
    return waits and now.status in {"past_due", "unpaid", "incomplete", "paused"}


def _require_resumed(now: Changeable) -> None:
    if now.status == "paused" and now.invoice_status == "void":
        raise ChangeRefused("payment_expired", "the resumption's invoice was not paid in time: begin anew")
    if now.status == "paused" and not is_payable(now):
        raise TryLater("payment_pending")


def must_resume_anew(now: Changeable) -> bool:
    """Whether a resumption that was asked for before has come to nothing: its invoice became void unpaid."""
    return now.status == "paused" and now.invoice_status == "void"


def is_second(made: str, found: Iterable[SubscriptionFact]) -> bool:
    """Whether the subscription that a page has begun is another one beside an older one that lives: then the older one
    stays. `found`: all of the user's."""
    found = list(found)
    mine = next((each for each in found if each.id == made), None)
    others = [each for each in found if each.id != made]
    living = [each for each in others if not each.is_terminal and each.status != "incomplete"]
    return mine is not None and any(_age(each) < _age(mine) for each in living)


def _age(subscription: SubscriptionFact) -> tuple[object, str]:
    return subscription.created, subscription.id

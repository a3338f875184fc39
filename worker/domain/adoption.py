"""Which of the subscriptions that a look finds is the user's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from worker.domain.stripe_facts import SubscriptionFact


def subscription_to_adopt(found: Sequence[SubscriptionFact], digest: str) -> SubscriptionFact | None:
    """The customer's subscription with which the row completes; None where one is to be created. `digest`: the user's.

    1. Ours that lives.
    2. Another one that lives (Checkout's, the dashboard's), unless it carries another user's digest.
    3. Ours that doesn't: the profile has had its subscription, and whoever canceled it isn't subscribed again. Only one
       whose first payment never came (`incomplete_expired`) was none.

    The oldest of several that live, the youngest of those that don't.
    """
    ours = [each for each in found if each.user_digest == digest]
    unmarked = [each for each in found if each.user_digest is None]
    ended = [each for each in ours if each.status != "incomplete_expired"]
    return _oldest(_living(ours)) or _oldest(_living(unmarked)) or max(ended, key=_age, default=None)


def has_expired(found: Iterable[SubscriptionFact], digest: str) -> bool:
    """Whether ours is there and was never paid for: its key would only bring back that one."""
    return any(each.user_digest == digest and each.status == "incomplete_expired" for each in found)


def _living(found: Iterable[SubscriptionFact]) -> list[SubscriptionFact]:
    """Those that give the user something, or will again; an `incomplete` one waits for its first payment, and ends
    without it (https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses)."""
    return [each for each in found if not each.is_terminal and each.status != "incomplete"]


def _oldest(found: Iterable[SubscriptionFact]) -> SubscriptionFact | None:
    return min(found, key=_age, default=None)


def _age(subscription: SubscriptionFact) -> tuple[datetime, str]:
    return subscription.created, subscription.id

"""What Stripe and our tables hold in the end, held against what was published."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.demo.traffic import Published
from sandbox.stripe.control import LoggedRequest, State
from worker.store.overview import Account


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; 0 where nothing was measured."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`duplicates`: objects of a user beyond the first, at Stripe or in our tables. `missing`: users without exactly
    what they should have in both. `overhead_ms`: publish → persisted, less the time that Stripe took."""

    profiles: int
    customers: int
    subscriptions: int
    duplicates: int
    missing: int
    seconds: float
    publish_to_persisted_ms: Percentiles
    overhead_ms: Percentiles
    seed: int

    @property
    def right(self) -> bool:
        return self.duplicates == 0 and self.missing == 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Expected:
    """What every profile should have come to."""

    plan: str
    trial: timedelta


def judge(
    sent: Mapping[str, Published],
    accounts: Sequence[Account],
    stripe: State,
    requests: Sequence[LoggedRequest],
    expected: Expected,
    *,
    seconds: float,
    seed: int,
) -> Verdict:
    """Counts. Nothing is taken from the workers' own word."""
    customers = _by_user(stripe["customers"])
    subscriptions = _by_user(stripe["subscriptions"])
    ours: dict[str, list[Account]] = defaultdict(list)
    for account in accounts:
        ours[account.user_id].append(account)
    right = {
        user: ours[user][0]
        for user, published in sent.items()
        if _has_what_it_should(customers[user], subscriptions[user], ours[user], published, expected)
    }
    total, overhead = _latencies(right, sent, requests)
    found = [*customers.values(), *subscriptions.values(), *ours.values()]
    return Verdict(
        profiles=len(sent),
        customers=sum(map(len, customers.values())),
        subscriptions=sum(map(len, subscriptions.values())),
        duplicates=sum(max(0, len(objects) - 1) for objects in found),
        missing=len(sent) - len(right),
        seconds=round(seconds, 3),
        publish_to_persisted_ms=percentiles(total),
        overhead_ms=percentiles(overhead),
        seed=seed,
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """By nearest rank, to a tenth of a millisecond."""
    ranked = sorted(values) or [0.0]
    p50, p99 = (round(ranked[math.ceil(q * len(ranked)) - 1], 1) for q in (0.5, 0.99))
    return Percentiles(p50, p99)


def _by_user(objects: Sequence[Any]) -> defaultdict[str, list[Any]]:
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for each in objects:
        found[each["metadata"].get("user_id", "?")].append(each)
    return found


def _has_what_it_should(
    customers: Sequence[Any],
    subscriptions: Sequence[Any],
    ours: Sequence[Account],
    published: Published,
    expected: Expected,
) -> bool:
    """One of each, on the right plan, its trial timed from the profile's creation; and our tables say the same."""
    if not len(customers) == len(subscriptions) == len(ours) == 1:
        return False
    trial_end = (published.created_at + expected.trial).replace(microsecond=0)
    at_stripe = subscriptions[0]
    right_at_stripe = (at_stripe["customer"], at_stripe["status"], at_stripe["trial_end"]) == (
        customers[0]["id"],
        "trialing",
        int(trial_end.timestamp()),
    )
    account = ours[0]
    right_here = (
        account.state,
        account.stripe_customer_id,
        account.stripe_subscription_id,
        account.plan,
        account.status,
        account.trial_end,
    ) == ("completed", customers[0]["id"], at_stripe["id"], expected.plan, "trialing", trial_end)
    return right_at_stripe and right_here


def _latencies(
    right: Mapping[str, Account], sent: Mapping[str, Published], requests: Sequence[LoggedRequest]
) -> tuple[list[float], list[float]]:
    """Milliseconds from publish to commit, with and without the time that Stripe had the user's requests."""
    at_stripe: dict[str, float] = defaultdict(float)
    for request in requests:
        at_stripe[request["user_id"] or ""] += request["handled_ms"] or 0.0
    total = {
        user: (account.persisted_at.astimezone(UTC) - sent[user].published_at) / timedelta(milliseconds=1)
        for user, account in right.items()
    }
    return list(total.values()), [milliseconds - at_stripe[user] for user, milliseconds in total.items()]


def shown(moment: datetime | None) -> str:
    """A time for people: UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if moment else "-"

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
class Events:
    """Stripe's events as they came in. `received`: by webhook and by polls, those that came again (`duplicates`) too.
    `stale`, `refreshed` and `applied` are what became of three kinds of the others."""

    received: int
    duplicates: int
    stale: int
    refreshed: int
    applied: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`duplicates`: objects of a user beyond the first, at Stripe or in our tables. `missing`: users without exactly
    what they should have in both. `overhead_ms`: publish → persisted, less the time that Stripe took. `changes`: of our
    rows. `drift`: rows that say something else than Stripe, as `subkeeper verify` tells."""

    profiles: int
    customers: int
    subscriptions: int
    duplicates: int
    missing: int
    seconds: float
    publish_to_persisted_ms: Percentiles
    overhead_ms: Percentiles
    events: Events
    changes: int
    drift: int
    seed: int

    @property
    def right(self) -> bool:
        return self.duplicates == 0 and self.missing == 0 and self.drift == 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Expected:
    """What every profile should have come to; `clock`: the time (UTC) of the test clock that it is on, if any."""

    plan: str
    trial: timedelta
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What all had come to when the last one was settled: `right` are the users with what they should have; the rest is
    as in `Verdict`."""

    users: frozenset[str]
    right: frozenset[str]
    duplicates: int
    seconds: float
    publish_to_persisted_ms: Percentiles
    overhead_ms: Percentiles

    @property
    def profiles(self) -> int:
        return len(self.users)

    @property
    def missing(self) -> int:
        return len(self.users) - len(self.right)


def provisioned(
    sent: Mapping[str, Published],
    accounts: Sequence[Account],
    stripe: State,
    requests: Sequence[LoggedRequest],
    expected: Expected,
    *,
    seconds: float,
) -> Provisioned:
    """Looks at everybody. Nothing is taken from the workers' own word."""
    customers, subscriptions, ours = _by_user(stripe["customers"]), _by_user(stripe["subscriptions"]), _held(accounts)
    right = {
        user: ours[user][0]
        for user, published in sent.items()
        if _has_what_it_should(customers[user], subscriptions[user], ours[user], published, expected)
    }
    total, overhead = _latencies(right, sent, requests)
    return Provisioned(
        users=frozenset(sent),
        right=frozenset(right),
        duplicates=_duplicates(accounts, stripe),
        seconds=round(seconds, 3),
        publish_to_persisted_ms=percentiles(total),
        overhead_ms=percentiles(overhead),
    )


def verdict(
    before: Provisioned,
    accounts: Sequence[Account],
    stripe: State,
    events: Events,
    *,
    changes: int,
    drift: int,
    seed: int,
) -> Verdict:
    """Counts what there is in the end. Who had it all at first and has lost some of it since is missing as well."""
    customers, subscriptions, ours = _by_user(stripe["customers"]), _by_user(stripe["subscriptions"]), _held(accounts)
    there = {user for user in before.right if customers[user] and subscriptions[user] and ours[user]}
    return Verdict(
        profiles=before.profiles,
        customers=sum(map(len, customers.values())),
        subscriptions=sum(map(len, subscriptions.values())),
        duplicates=_duplicates(accounts, stripe),
        missing=before.profiles - len(there),
        seconds=before.seconds,
        publish_to_persisted_ms=before.publish_to_persisted_ms,
        overhead_ms=before.overhead_ms,
        events=events,
        changes=changes,
        drift=drift,
        seed=seed,
    )


def _duplicates(accounts: Sequence[Account], stripe: State) -> int:
    """Second objects of anybody's: at Stripe, or in our tables."""
    customers, subscriptions = _by_user(stripe["customers"]), _by_user(stripe["subscriptions"])
    found = [*customers.values(), *subscriptions.values(), *_held(accounts).values()]
    return sum(len(objects) - 1 for objects in found if objects)


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


def _held(accounts: Sequence[Account]) -> defaultdict[str, list[Account]]:
    ours: defaultdict[str, list[Account]] = defaultdict(list)
    for account in accounts:
        ours[account.user_id].append(account)
    return ours


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
    at_stripe, account = subscriptions[0], ours[0]
    if not _is_timely(at_stripe["trial_end"], account, published, expected):
        return False
    trial_end = datetime.fromtimestamp(at_stripe["trial_end"], UTC)
    right_at_stripe = (at_stripe["customer"], at_stripe["status"]) == (customers[0]["id"], "trialing")
    right_here = (
        account.state,
        account.stripe_customer_id,
        account.stripe_subscription_id,
        account.plan,
        account.status,
        account.trial_end,
    ) == ("completed", customers[0]["id"], at_stripe["id"], expected.plan, "trialing", trial_end)
    return right_at_stripe and right_here


def _is_timely(trial_end: int | None, account: Account, published: Published, expected: Expected) -> bool:
    """Counted from the profile's creation. On a test clock: of it as much had passed as had when Stripe was asked for
    it, both in whole seconds."""
    if trial_end is None:
        return False
    ends = datetime.fromtimestamp(trial_end, UTC)
    if expected.clock is None:
        return ends == (published.created_at + expected.trial).replace(microsecond=0)
    passed = expected.trial - (ends - expected.clock)
    second = timedelta(seconds=1)
    return -second <= passed <= account.persisted_at - published.created_at + 2 * second


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

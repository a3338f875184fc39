"""A user's ledger row and the rules of its way from profile to subscription (docs/design.md, *Provisioning*).

    pending ──> customer_created ──> completed          erasing ──> erased
       └──────────────┴──> quarantined (and back, by a retry)

Everything here is a pure function of its arguments: no clock, no randomness, no I/O.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from worker.domain.stripe_facts import CustomerFact, SubscriptionFact

KEY_TRUSTED_FOR = timedelta(hours=23)
"""How long a key still protects a repeated request. Stripe keeps results at least 24 h, then prunes them
(https://docs.stripe.com/api/idempotent_requests); an hour is left for clocks and for the request itself."""

SHORTEST_TRIAL_TO_SEND = timedelta(hours=1)
"""A subscription whose trial would end sooner than this gets a new, full trial instead (a long outage)."""

RENEWAL_MARGIN = timedelta(minutes=20)
"""How long after a trial became too short to be sent a request with it may still take effect: sent at the end of the
longest lease (10 min), and held up on its way or at Stripe for as long again."""

SEARCH_LAG = timedelta(hours=1)
"""How far behind Stripe's Search can be (https://docs.stripe.com/search#data-freshness)."""

LOOK_MARGIN = timedelta(minutes=10)
"""How far beyond the first and the last request the created window of a look reaches."""

FIRST_RETRY, LONGEST_RETRY = 1.0, 20.0
"""Seconds before a retry: doubling from the first to the longest. The longest bounds how late a row is settled once
a dependency is back; the limiter, not the delay, is what protects Stripe from many rows."""


class Lane(IntEnum):
    """Who waits for whom: shares of NSQ's in-flight budget, of the settling threads and of Stripe's rate."""

    LIVE = 0
    RETRY = 1
    BACKFILL = 2


class State(StrEnum):
    """Where a user's provisioning stands. `erasing` and `erased` belong to the erasure of a user."""

    PENDING = "pending"
    CUSTOMER_CREATED = "customer_created"
    COMPLETED = "completed"
    QUARANTINED = "quarantined"
    ERASING = "erasing"
    ERASED = "erased"


UNFINISHED = (State.PENDING, State.CUSTOMER_CREATED)


class Step(StrEnum):
    """The two Stripe objects that provisioning creates, in this order."""

    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class Requested:
    """When a step was first and last about to be sent, in Stripe's time (UTC), over all its generations."""

    first: datetime
    last: datetime

    @property
    def repeated(self) -> bool:
        return self.last != self.first  # Stripe's whole seconds may take our view of its time back by one


@dataclass(frozen=True, slots=True)
class Provisioning:
    """One user's ledger row, as a worker holds it. `customer_request` is sealed; both requests are frozen JSON."""

    user_id: str
    state: State
    generation: int
    plan: str
    trial_end: datetime
    lane: Lane
    attempts: int
    look_first: bool
    lease_token: int = 0
    customer_request: bytes | None = None
    subscription_request: str | None = None
    stripe_customer_id: str | None = None
    stripe_subscription_id: str | None = None
    customer_requested: Requested | None = None
    subscription_requested: Requested | None = None
    known_customer_id: str | None = None
    """The Stripe customer that `billing_customers` already holds for this user, whoever wrote it."""

    @property
    def step(self) -> Step:
        return Step.CUSTOMER if self.state is State.PENDING else Step.SUBSCRIPTION

    @property
    def requested(self) -> Requested | None:
        return self.customer_requested if self.step is Step.CUSTOMER else self.subscription_requested


def _digest(*parts: str | int) -> str:
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") differ.
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def user_digest(namespace: str, user_id: str) -> str:
    """What `metadata.subkeeper` carries on a user's Stripe objects: says whose they are without saying who."""
    return _digest(namespace, user_id)


def step_key(namespace: str, user_id: str, step: Step, generation: int) -> str:
    """The idempotency key of a step: no personal data, and 74 of Stripe's 255 characters."""
    return "subkeeper-" + _digest(namespace, user_id, step.value, generation)


def idempotency_key(namespace: str, row: Provisioning) -> str:
    """The key of the row's next request: the same for every attempt of one generation of one step."""
    return step_key(namespace, row.user_id, row.step, row.generation)


def must_look(row: Provisioning, now: datetime) -> bool:
    """Whether Stripe is to be searched for the object before it is created. `now` is Stripe's time (UTC).

    The row says so itself (a burnt key, a reused customer, a retry from quarantine, an old profile), or its key was
    first used so long ago that Stripe may have forgotten it.
    """
    return row.look_first or (row.requested is not None and now - row.requested.first > KEY_TRUSTED_FOR)


def trial_is_spent(row: Provisioning, now: datetime) -> bool:
    """Whether so little of the frozen trial is left that sending it would cheat the user. `now`: Stripe's time."""
    return row.trial_end - now < SHORTEST_TRIAL_TO_SEND


def renewal_wait(row: Provisioning, now: datetime) -> timedelta:
    """How long a spent trial must wait for its replacement: a request with the old one may be under way, and its key
    doesn't stop one of the next generation. Not at all, if none was ever sent. `now`: Stripe's time."""
    if row.subscription_requested is None or not row.subscription_requested.repeated:
        return timedelta(0)
    return max(timedelta(0), row.trial_end - SHORTEST_TRIAL_TO_SEND + RENEWAL_MARGIN - now)


def look_window(requested: Requested, now: datetime, *, burnt: bool) -> tuple[datetime, datetime]:
    """The span of `created` (UTC) in which an object of these requests must lie. `now`: Stripe's time, which may be far
    beyond the last request's by the row, as a lease is renewed during a long search.

    A burnt key may have been used before any request that the row knows of (by a database that was lost): the span then
    reaches back to what Search has certainly seen.
    """
    start = min(requested.first, now - SEARCH_LAG) if burnt else requested.first
    return start - LOOK_MARGIN, max(requested.last, now) + LOOK_MARGIN


def our_customer(found: Iterable[CustomerFact], digest: str) -> CustomerFact | None:
    """The customer among `found` that carries our digest; the oldest, should there be several."""
    return min((c for c in found if c.user_digest == digest), key=lambda c: (c.created, c.id), default=None)


def usable_subscription(found: Iterable[SubscriptionFact], digest: str) -> SubscriptionFact | None:
    """The customer's subscription to adopt: ours, else any that still lives; never an ended or another user's one."""
    alive = [s for s in found if not s.is_terminal and s.user_digest in (digest, None)]
    return min(alive, key=lambda s: (s.user_digest is None, s.created, s.id), default=None)


def has_ended(found: Iterable[SubscriptionFact], digest: str) -> bool:
    """Whether our own subscription is there and over: its key would only replay the dead one."""
    return any(s.is_terminal and s.user_digest == digest for s in found)


def customer_request(
    namespace: str, user_id: str, email: str | None, name: str | None
) -> dict[str, str | dict[str, str]]:
    """The parameters of `POST /v1/customers`. Absent fields are left out, as Stripe reads "" as "unset"."""
    request: dict[str, str | dict[str, str]] = {
        "metadata": {"subkeeper": user_digest(namespace, user_id), "user_id": user_id}
    }
    if email:
        request["email"] = email
    if name:
        request["name"] = name
    return request


def subscription_request(
    row: Provisioning,
    *,
    namespace: str,
    customer_id: str,
    price_id: str,
    missing_payment_method: str,
    billing_mode: str,
) -> str:
    """The parameters of `POST /v1/subscriptions`, as the JSON text that the row keeps.

    `billing_mode` is explicit because its default can move `trial_start`
    (https://docs.stripe.com/billing/subscriptions/billing-mode).
    """
    parameters: Mapping[str, object] = {
        "customer": customer_id,
        "items": [{"price": price_id}],
        "trial_end": int(row.trial_end.timestamp()),
        "trial_settings": {"end_behavior": {"missing_payment_method": missing_payment_method}},
        "billing_mode": {"type": billing_mode},
        "metadata": {"subkeeper": user_digest(namespace, row.user_id), "user_id": row.user_id},
    }
    return json.dumps(parameters, separators=(",", ":"))


def retry_delay(attempts: int, rng: random.Random) -> float:
    """Seconds until the next attempt after `attempts` of them: exponential, capped, jittered down to a half."""
    ceiling = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(attempts - 1, 30))
    return ceiling * rng.uniform(0.5, 1.0)


def retry_lane(lane: Lane) -> Lane:
    """Where a row goes after a failed attempt: a backfilled one never gets in front of a live one."""
    return Lane.BACKFILL if lane is Lane.BACKFILL else Lane.RETRY

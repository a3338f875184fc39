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
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from worker.domain.backoff import backoff
from worker.domain.clocks import CLOCKS_AGREE
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import CustomerFact

KEY_TRUSTED_FOR = timedelta(hours=23)
"""How long after its first use a key still protects a repeated request. Stripe keeps results at least 24 h, then prunes
them (https://docs.stripe.com/api/idempotent_requests); an hour is left for clocks and for the request itself."""

KEY_TRUSTED_BY_CREATION = timedelta(hours=12)
"""The same, where only the profile's `created_at` says since when: another clock, and at times a local time without its
zone, which is off by as much."""

SHORTEST_TRIAL_TO_SEND = timedelta(hours=1)
"""A subscription whose trial would end sooner than this gets a new, full trial instead (a long outage)."""

RENEWAL_MARGIN = timedelta(minutes=20)
"""How long after a trial became too short to be sent a request with it may still take effect: sent at the end of the
longest lease (10 min), and held up on its way or at Stripe for as long again."""

LOOK_MARGIN = timedelta(minutes=10)
"""How far the created window of a look reaches beyond the times that a key may have been used at."""

BEGINNING = datetime(2010, 1, 1, tzinfo=UTC)
"""Before the first object at Stripe."""

LONGEST_DELAY = 3600.0
"""Seconds between two attempts at what nobody waits for."""

FIRST_RETRY, LONGEST_RETRY = 1.0, 20.0
"""Seconds before a retry: doubling from the first to the longest. The longest bounds how late a row is settled once
a dependency is back; the limiter, not the delay, is what protects Stripe from many rows."""


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
    customer_requested: Requested | None = None
    subscription_requested: Requested | None = None
    requested_before: Requested | None = None
    """The step's `requested` before this lease: what it is again if nothing is sent under it."""
    known_customer_id: str | None = None
    """The Stripe customer that `billing_customers` already holds for this user, whoever wrote it."""
    key_possible_since: datetime | None = None
    """The earliest time at which anybody, also with another database, could have asked Stripe for this user's customer:
    the earlier of the profile's creation and of our first sight. None: not known."""
    first_seen: datetime | None = None
    """When this database took the row in (UTC)."""
    seen_for: timedelta = timedelta(0)
    """How long before the lease that was, by the database's clock alone."""

    @property
    def fence(self) -> dict[str, object]:
        """What each write of its lease's holder names: the row, and the token by which it was leased."""
        return {"user_id": self.user_id, "lease_token": self.lease_token}

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


def project_digest(namespace: str, project_id: str) -> str:
    """The same of a project's: no user's is like it."""
    return _digest(namespace, "project", project_id)


def step_key(namespace: str, user_id: str, step: Step, generation: int) -> str:
    """The idempotency key of a step: no personal data, and 74 of Stripe's 255 characters."""
    return "subkeeper-" + _digest(namespace, user_id, step.value, generation)


def idempotency_key(namespace: str, row: Provisioning) -> str:
    """The key of the row's next request: the same for every attempt of one generation of one step."""
    return step_key(namespace, row.user_id, row.step, row.generation)


def must_look(row: Provisioning, now: datetime) -> bool:
    """Whether Stripe is to be searched for the object before it is created. `now` is Stripe's time (UTC).

    The row says so itself (a burnt key, a reused customer, a retry from quarantine, an old profile, a restored
    database), or its key may first have been used so long ago that Stripe has forgotten it.
    """
    if row.look_first:
        return True
    if row.step is Step.CUSTOMER:
        return not _customer_key_is_trusted(row, now)
    # The customer was made by this row's own request, or the row would say look: before that, there was nobody to ask a
    # subscription for. (Its own first request says less: a database that was lost may have sent an earlier one.)
    return row.customer_requested is None or now - row.customer_requested.first > KEY_TRUSTED_FOR


def _customer_key_is_trusted(row: Provisioning, now: datetime) -> bool:
    since = row.key_possible_since
    if since is None or since > now + CLOCKS_AGREE:  # a time to come tells nothing of when the key was used
        return False
    seen_as_created = row.first_seen is not None and row.first_seen - since <= CLOCKS_AGREE
    return now - since <= (KEY_TRUSTED_FOR if seen_as_created else KEY_TRUSTED_BY_CREATION)


def trial_is_spent(row: Provisioning, now: datetime) -> bool:
    """Whether so little of the frozen trial is left that sending it would cheat the user. `now`: Stripe's time."""
    return row.trial_end - now < SHORTEST_TRIAL_TO_SEND


def renewal_wait(row: Provisioning, now: datetime) -> timedelta:
    """How long a spent trial must wait for its replacement: a request with the old one may be under way, and its key
    doesn't stop one of the next generation. Not at all, if none was ever sent. `now`: Stripe's time."""
    if row.subscription_requested is None or not row.subscription_requested.repeated:
        return timedelta(0)
    return max(timedelta(0), row.trial_end - SHORTEST_TRIAL_TO_SEND + RENEWAL_MARGIN - now)


def look_window(row: Provisioning, now: datetime) -> tuple[datetime, datetime]:
    """The span of `created` (UTC) in which the user's customer must lie, whoever asked for it. `now`: Stripe's time,
    which may be far beyond the last request's by the row, as a lease is renewed during a long search.

    Where nobody knows since when the key may have been used, it begins with the first customer there can be.
    """
    requests = row.customer_requested
    known = [] if requests is None else [requests.first, requests.last]
    start = BEGINNING if row.key_possible_since is None else min([row.key_possible_since, *known])
    return max(start, BEGINNING) - LOOK_MARGIN, max([now, *known]) + LOOK_MARGIN


def our_customer(found: Iterable[CustomerFact], digest: str) -> CustomerFact | None:
    """The customer among `found` that carries our digest; the oldest, should there be several."""
    return min((c for c in found if c.user_digest == digest), key=lambda c: (c.created, c.id), default=None)


def customer_request(
    namespace: str, user_id: str, email: str | None, name: str | None, test_clock: str | None = None
) -> dict[str, str | dict[str, str]]:
    """The parameters of `POST /v1/customers`. Absent fields are left out, as Stripe reads "" as "unset"."""
    request: dict[str, str | dict[str, str]] = {
        "metadata": {"subkeeper": user_digest(namespace, user_id), "user_id": user_id}
    }
    if email:
        request["email"] = email
    if name:
        request["name"] = name
    if test_clock:
        request["test_clock"] = test_clock
    return request


def subscription_request(
    row: Provisioning,
    *,
    namespace: str,
    customer_id: str,
    price_id: str,
    missing_payment_method: str,
    billing_mode: str,
    clock_ahead: timedelta = timedelta(0),
) -> str:
    """The parameters of `POST /v1/subscriptions`, as the JSON text that the row keeps.

    `clock_ahead`: how far the customer's test clock is ahead of Stripe's time. On it the trial lasts as long as it
    would without: Stripe judges its end by that clock.

    `billing_mode` is explicit because its default can move `trial_start`
    (https://docs.stripe.com/billing/subscriptions/billing-mode).
    """
    parameters: Mapping[str, object] = {
        "customer": customer_id,
        "items": [{"price": price_id}],
        "trial_end": int((row.trial_end + clock_ahead).timestamp()),
        "trial_settings": {"end_behavior": {"missing_payment_method": missing_payment_method}},
        "billing_mode": {"type": billing_mode},
        "metadata": {"subkeeper": user_digest(namespace, row.user_id), "user_id": row.user_id},
    }
    return json.dumps(parameters, separators=(",", ":"))


def retry_delay(attempts: int, rng: random.Random) -> float:
    """Seconds until the next attempt after `attempts` of them: exponential, capped, jittered down to a half."""
    return backoff(attempts, FIRST_RETRY, LONGEST_RETRY, rng)


def rarer_delay(attempts: int, rng: random.Random) -> float:
    """The same, for what nobody waits for: after ten attempts it doubles again, up to an hour."""
    return min(LONGEST_DELAY, retry_delay(min(attempts, 10), rng) * 2.0 ** max(0, min(attempts - 10, 10)))


def retry_lane(lane: Lane) -> Lane:
    """Where a row goes after a failed attempt: a backfilled one never gets in front of a live one."""
    return Lane.BACKFILL if lane is Lane.BACKFILL else Lane.RETRY

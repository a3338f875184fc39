"""Asks Stripe for the subscriptions that are marked, and writes what it says.

Leased work, as provisioning is: each mark is one process's until a deadline, and at most one fetch of a subscription is
in flight.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from msgspec.structs import replace

from worker.domain.deadline import Clock, Deadline, OutOfTime, boot_time
from worker.domain.invoice import charge
from worker.domain.lanes import Lane
from worker.domain.owners import Owner, OwnerKind
from worker.domain.provisioning import rarer_delay
from worker.domain.stripe_facts import Answer, FetchedSubscription
from worker.domain.subscription import Change, fetched
from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater
from worker.events.claims import claimed
from worker.events.snapshots import PlanOf, plan_name
from worker.events.vanished import Vanished, is_missing
from worker.store import account_changes, customers, events, refreshes, subscriptions, tombstones
from worker.store.customer_defaults import FetchedDefault
from worker.store.engine.database import Database, Transaction
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning import following, pointers
from worker.store.refreshes import Refresh
from worker.stripe_api.gateway import StripeGateway
from worker.work.owner import BlamesNobody, Ended

WAITING = timedelta(minutes=1)
"""After so long a subscription is fetched again whose user's provisioning isn't finished: that decides first."""

UNDER_WAY = frozenset({"pending", "customer_created"})
NOBODYS = frozenset({"erasing", "erased"})


@dataclass(slots=True)
class RefreshLease:
    """A mark that this process alone may fetch for, until the deadline."""

    refresh: Refresh
    deadline: Deadline
    lane: Lane = field(default=Lane.RETRY)


class Refresher(BlamesNobody):
    """Leases of `length`. `rng` jitters retries."""

    def __init__(
        self,
        database: Database,
        gateway: StripeGateway,
        *,
        namespace: str,
        plan_of: PlanOf,
        length: timedelta,
        rng: random.Random,
        clock: Clock = boot_time,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._namespace = namespace
        self._plan_of = plan_of
        self._length = length
        self._rng = rng
        self._clock = clock
        self._vanished = Vanished(database)
        self._log = structlog.get_logger(__name__)

    # As the owner of leased work

    def lease_due(self, wanted: Mapping[Lane, int]) -> list[RefreshLease]:
        """Up to so many due marks, the longest due first; all of them are of one lane."""
        count = wanted.get(Lane.RETRY, 0)
        return self._lease(count) if count else []

    def mark(self, stripe_subscription_id: str, lane: Lane) -> RefreshLease | None:
        """Marks a subscription, and leases that mark; None where somebody has it, who fetches once more then."""
        deadline = Deadline.after(self._length.total_seconds(), self._clock)
        with self._database.transaction() as tx:
            refreshes.mark(tx, [stripe_subscription_id])
            leased = refreshes.lease_one(tx, stripe_subscription_id, self._length)
        return None if leased is None else RefreshLease(leased, deadline, lane)

    def run(self, lease: RefreshLease) -> Ended:
        """Fetches, and writes what there is to write."""
        try:
            return self._run(lease)
        except LeaseLost:
            self._log.warning("refresh.lost", stripe_subscription_id=lease.refresh.stripe_subscription_id)
            return Ended("lease_lost")

    def give_back(self, lease: RefreshLease) -> None:
        self._postpone(lease, timedelta(), None)

    def crashed(self, lease: RefreshLease, error: Exception) -> None:
        self._log.critical(
            "refresh.crashed", stripe_subscription_id=lease.refresh.stripe_subscription_id, exc_info=error
        )
        with suppress(SubkeeperError):  # the lease runs out by itself
            self._put_off(lease, TryLater(f"crashed: {type(error).__name__}"))

    # What was refused is nobody's doubt here: a read changes nothing, and each mark is tried again by itself

    def lease_untried(self, *, newest: bool) -> RefreshLease | None:  # noqa: ARG002 - as `Refusals` has it
        return next(iter(self._lease(1)), None)

    # The work

    def _lease(self, count: int) -> list[RefreshLease]:
        deadline = Deadline.after(self._length.total_seconds(), self._clock)
        with self._database.transaction() as tx:
            return [RefreshLease(each, deadline) for each in refreshes.lease(tx, count, self._length)]

    def _run(self, lease: RefreshLease) -> Ended:
        try:
            answer = self._gateway.subscription(
                lease.refresh.stripe_subscription_id, lane=lease.lane, deadline=lease.deadline
            )
        except Misconfigured:  # the key: nothing can be fetched
            self.give_back(lease)
            raise
        except OutOfTime as late:
            self._postpone(lease, timedelta(seconds=late.after), None)
            return Ended("postponed")
        except TryLater as later:
            self._put_off(lease, later)
            return Ended("postponed")
        except Rejected as refused:
            if is_missing(refused):
                self._vanished.denied(lease.refresh)
                return Ended("missing")
            self._put_off(lease, refused)
            self._log.error(
                "refresh.refused", stripe_subscription_id=lease.refresh.stripe_subscription_id, reason=str(refused)
            )
            return Ended("refused")
        return Ended(self._write(lease, answer), passed=True)

    def _put_off(self, lease: RefreshLease, why: SubkeeperError) -> None:
        """Tried again ever more rarely, every hour at last."""
        delay = rarer_delay(lease.refresh.attempts, self._rng)
        self._postpone(lease, timedelta(seconds=max(delay, why.after if isinstance(why, TryLater) else 0.0)), str(why))

    def _postpone(self, lease: RefreshLease, delay: timedelta, error: str | None) -> None:
        with self._database.transaction() as tx:
            refreshes.postpone(tx, lease.refresh, delay, error)

    def _write(self, lease: RefreshLease, answer: Answer[FetchedSubscription]) -> str:
        """The customer's row first, then the subscription's, the ledger's, and the mark, in the order in which events
        lock them."""
        refresh, found = lease.refresh, answer.value
        with self._database.transaction() as tx:
            seen = (answer.seen_from, answer.seen_to)
            default = FetchedDefault.locking(tx, found.fact.customer_id, found.customer_default, seen)
            rows = subscriptions.locked(tx, [refresh.stripe_subscription_id], default.concerned)
            row = rows.pop(refresh.stripe_subscription_id, None)
            whose = claimed(tx, self._namespace, found, default.owner) if row is None else None
            user_id = row.user_id if row is not None else _user_of(whose)
            if row is None and user_id is not None:  # else an erasure could begin between a look at the user and what
                account_changes.lock_user(tx, user_id)  # is written
            pointers.hold(tx, user_id)
            held = refreshes.hold(tx, refresh)
            if refresh.missing_for is not None:
                refreshes.found(tx, refresh)
            version = row.version if row is not None else None
            if (version, held.confirmed) != (refresh.version, refresh.confirmed):
                refreshes.postpone(tx, refresh, timedelta(), None)
                return "overtaken"
            default.write(tx, list(rows.values()), "refresh")
            if row is None:
                outcome = self._adopt(tx, answer, default, whose)
            else:
                state = found.fact.columns(plan_name(found.fact, self._plan_of))
                told = charge(found.latest_invoice) if found.latest_invoice is not None else None
                new, change = fetched(row, state, told, seen, "refresh", customer_default=default.payment_method)
                subscriptions.write(tx, [new], [change] if change is not None else [])
                pointers.move(tx, {row.user_id})
                events.matched(tx, row.id)
                outcome = "changed" if change is not None else "unchanged"
            if outcome in {"waiting", "overtaken"}:
                refreshes.postpone(tx, refresh, WAITING if outcome == "waiting" else timedelta(), None)
            elif held.wanted == refresh.wanted and default.sure_after is None:
                refreshes.clear(tx, refresh)
            else:
                refreshes.postpone(tx, refresh, default.sure_after or timedelta(), None, fetched=True)
        return outcome if default.sure_after is None else "overtaken"

    def _adopt(
        self, tx: Transaction, answer: Answer[FetchedSubscription], default: FetchedDefault, whose: Owner | None
    ) -> str:
        """A subscription that was made elsewhere (Checkout, the dashboard) is the user's whose customer it has; on a
        shared one, the owner's whom its metadata names.

        Nobody's is recorded, and fetched again once its customer is somebody's. What was removed here stays away.
        """
        found, fact = answer.value, answer.value.fact
        if tombstones.among(tx, [fact.id]):
            return "tombstoned"
        owner = customers.owners(tx, [fact.customer_id]).get(fact.customer_id)
        if owner is not None and owner.deleted:
            return "unmatched"
        if default.owner is None and owner is not None:  # it has come since, and whose it is was judged without
            return "overtaken"
        user_id = _user_of(whose)
        state = following.state_of(tx, user_id) if user_id is not None else None
        if state in UNDER_WAY:
            return "waiting"
        if whose is None or state in NOBODYS or not (owner or self._is_added(tx, whose.id, found)):
            events.add_unmatched(tx, [(fact.id, fact.customer_id)])
            return "unmatched"
        if owner is None:
            default.write_new(tx)
        is_own = owner is None or owner.user_id == user_id
        return "adopted" if self._insert(tx, whose, answer, is_own=is_own) else "overtaken"

    def _is_added(self, tx: Transaction, user_id: str, found: FetchedSubscription) -> bool:
        """Whether a customer that was made elsewhere is the user's now. Not with a subscription that has ended: its
        customer may be gone, too."""
        if found.fact.is_terminal or not customers.add(tx, user_id, found.fact.customer_id):
            return False
        refreshes.revisit(tx, found.fact.customer_id)
        return True

    def _insert(self, tx: Transaction, whose: Owner, answer: Answer[FetchedSubscription], *, is_own: bool) -> bool:
        """The row, its change, and the ledger's word that it is the user's, where it has none that lives (`is_own`: it
        is on the user's own customer). False: the row is there by now (our own signup's), or its customer was deleted
        meanwhile."""
        found, fact = answer.value, answer.value.fact
        state = fact.columns(plan_name(fact, self._plan_of))
        seen = (answer.seen_from, answer.seen_to)
        if not subscriptions.insert(
            tx, fact.id, fact.customer_id, whose, state, seen=seen, stripe_created=fact.created
        ):
            return False
        row = subscriptions.locked(tx, [fact.id])[fact.id]
        told = charge(found.latest_invoice) if found.latest_invoice is not None else None
        new, _ = fetched(row, state, told, seen, "adopted", customer_default=row.customer_default)
        new = replace(new, version=row.version)  # nobody has heard of it without its charge
        change = Change(new.user_id, fact.id, new.version, None, new.columns(), "adopted", new.project_id)
        subscriptions.write(tx, [new], [change])
        if is_own:  # on another's customer it says nothing of the user's signup
            following.adopt(tx, whose.id, fact.id)
        pointers.move(tx, {new.user_id})
        events.matched(tx, fact.id)
        return True


def _user_of(whose: Owner | None) -> str | None:
    return whose.id if whose is not None and whose.kind is OwnerKind.USER else None

"""Walks Stripe's subscriptions and our rows side by side, and tells where they differ (`subkeeper verify`).

In constant memory: pages of Stripe's, our rows looked up for each, and the ids that were seen in a file without a name.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from worker.domain.deadline import Deadline
from worker.domain.drift import Finding, Kind, Repair
from worker.domain.lanes import Lane
from worker.events.comparing import Comparison, Suspect
from worker.events.patience import Patience
from worker.events.refresher import Refresher, RefreshLease
from worker.events.spooled_ids import SpooledIds
from worker.store import drift, event_cursor
from worker.store.engine.database import Database
from worker.stripe_api.errors import CustomerGone
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.subscription_list import SubscriptionPage

GRACE = 2.0
"""Seconds before a difference is looked at again: time for an event that is on its way to come in."""

MOST_SUSPECTS = 500
"""So many wait for their second look at most."""

MENDED = frozenset({"changed", "unchanged", "adopted"})


class Watch(Protocol):
    """Hears how far it got."""

    def advanced(self, subscriptions: int) -> None: ...


@dataclass(slots=True)
class Walked:
    """What was compared. `in_flight`: differences that were gone, or on their way, at the second look."""

    subscriptions: int = 0
    in_flight: int = 0


class Verifier:
    """`refresher` mends what a fetch mends, by leases of `lease`; None: nothing is written."""

    def __init__(
        self,
        database: Database,
        gateway: StripeGateway,
        comparison: Comparison,
        refresher: Refresher | None,
        watch: Watch,
        patiently: Patience,
        lease: timedelta,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._comparison = comparison
        self._refresher = refresher
        self._watch = watch
        self._patiently = patiently
        self._lease = lease
        self.walked = Walked()
        self._seen_from: datetime | None = None
        self._left = False

    def everything(self) -> Iterator[Finding]:
        """All differences there are, as they are found."""
        with self._database.transaction() as tx:
            began = drift.now(tx)
        with SpooledIds() as seen, SpooledIds() as unseen:
            yield from self._walk(self._pages(None), seen)
            self._spool_unseen(seen, unseen, began)
            yield from self._ask(unseen)
        yield from self._tables(began, None)
        self._heal_gap()

    def of(self, users: Sequence[str]) -> Iterator[Finding]:
        """The differences of these users."""
        with self._database.transaction() as tx:
            began = drift.now(tx)
            customers = drift.customers_of(tx, users)
        seen: set[str] = set()
        for customer_id in customers:
            try:
                yield from self._walk(self._pages(customer_id), seen)
            except CustomerGone:
                detail = "Stripe doesn't know it, or has deleted it"
                yield Finding(Kind.ORPHANED_CUSTOMER, stripe_customer_id=customer_id, detail=detail)
        with self._database.transaction() as tx:
            ours = drift.subscriptions_of(tx, users, began)
        yield from self._ask(each for each in ours if each not in seen)
        yield from self._tables(began, users)

    def _spool_unseen(self, seen: SpooledIds, unseen: SpooledIds, began: datetime) -> None:
        """No transaction stays open while Stripe is asked."""
        with self._database.transaction() as tx:
            for each in drift.unseen(tx, seen, began):
                unseen.add(each)

    def _heal_gap(self) -> None:
        """Every row says what Stripe said when the walk began: events of before need not be had any more."""
        if self._seen_from is not None and not self._left:
            with self._database.transaction() as tx:
                event_cursor.heal_gap(tx, self._seen_from)

    # At Stripe

    def _pages(self, customer_id: str | None) -> Iterator[SubscriptionPage]:
        after: str | None = None
        while True:
            page = self._patiently(partial(self._page, after, customer_id))
            yield page
            if (after := page.after) is None:
                return

    def _page(self, after: str | None, customer_id: str | None, deadline: Deadline) -> SubscriptionPage:
        return self._gateway.subscriptions_page(after, customer_id, lane=Lane.BACKFILL, deadline=deadline)

    def _walk(self, pages: Iterator[SubscriptionPage], seen: SpooledIds | set[str]) -> Iterator[Finding]:
        waiting: deque[tuple[float, Suspect]] = deque()
        for page in pages:
            at = time.monotonic()
            self._seen_from = self._seen_from or page.seen_from
            for each in page.found:
                seen.add(each.fact.id)
            for unreadable in page.unreadable:
                seen.add(unreadable.id)
                yield Finding(Kind.UNREADABLE, stripe_subscription_id=unreadable.id, detail=unreadable.detail)
            waiting.extend((at, suspect) for suspect in self._comparison.suspects(page))
            count = len(page.found) + len(page.unreadable)
            self.walked.subscriptions += count
            self._watch.advanced(count)
            yield from self._look_again(waiting, most=MOST_SUSPECTS)
        yield from self._look_again(waiting, most=0)

    def _look_again(self, waiting: deque[tuple[float, Suspect]], most: int) -> Iterator[Finding]:
        """At those whose time has come, and at the oldest ones where more than `most` wait."""
        while waiting and (len(waiting) > most or waiting[0][0] + GRACE <= time.monotonic()):
            at, suspect = waiting.popleft()
            self._patiently.sleep(max(0.0, at + GRACE - time.monotonic()))
            yield from self._told(self._comparison.look_again(suspect))

    def _ask(self, ids: Iterable[str]) -> Iterator[Finding]:
        """Of rows that no list had: it leaves out what is on a test clock."""
        for each in ids:
            yield from self._told(self._comparison.ask(each), was_suspected=False)

    def _told(self, finding: Finding | None, *, was_suspected: bool = True) -> Iterator[Finding]:
        if finding is None:
            self.walked.in_flight += was_suspected
        elif self._refresher is None or not finding.mendable:
            self._left = self._left or finding.mendable
            yield finding
        else:
            repair = self._mend(self._refresher, finding)
            self._left = self._left or repair is not Repair.DONE
            yield replace(finding, repair=repair)

    def _mend(self, refresher: Refresher, finding: Finding) -> Repair:
        """As any fetch: marked, leased, asked for, written if nothing moved meanwhile. A worker that has the mark is
        waited for, and the lease of one that is dead."""
        identifier = finding.stripe_subscription_id
        assert identifier is not None, "what a fetch mends has one"
        until = time.monotonic() + self._lease.total_seconds()
        while True:
            lease = refresher.mark(identifier, Lane.BACKFILL)
            if lease is not None and self._fetched(refresher, lease):
                return Repair.DONE
            self._patiently.sleep(GRACE)
            if self._comparison.ask(identifier) is None:
                return Repair.DONE
            if time.monotonic() > until:
                return Repair.MARKED

    def _fetched(self, refresher: Refresher, lease: RefreshLease) -> bool:
        self._patiently.count_read()
        return refresher.run(lease).outcome in MENDED

    # Our tables by themselves

    def _tables(self, began: datetime, users: Sequence[str] | None) -> Iterator[Finding]:
        after = 0
        while page := self._customers(after, began, users):
            for row in page:
                if row.orphaned:
                    detail = "it has no subscription, and its user no ledger row"
                    yield Finding(Kind.ORPHANED_CUSTOMER, row.user_id, None, row.stripe_customer_id, detail=detail)
                if len(row.living) > 1:
                    yield Finding(
                        Kind.TWO_SUBSCRIPTIONS, row.user_id, None, row.stripe_customer_id, detail=" ".join(row.living)
                    )
            after = page[-1].id
        last = ""
        while profiles := self._profiles(last, began, users):
            for bare in (each for each in profiles if each.bare):
                yield from self._bare(bare)
            last = profiles[-1].user_id

    def _customers(self, after: int, began: datetime, users: Sequence[str] | None) -> list[drift.CustomerRow]:
        with self._database.transaction() as tx:
            return drift.customers(tx, after, began, users)

    def _profiles(self, after: str, began: datetime, users: Sequence[str] | None) -> list[drift.ProfileRow]:
        with self._database.transaction() as tx:
            return drift.profiles(tx, after, began, users)

    def _bare(self, row: drift.ProfileRow) -> Iterator[Finding]:
        """One that Stripe has was told as missing here; what Stripe's lists leave out is asked for by its id."""
        identifier = row.stripe_subscription_id
        if identifier is not None and self._comparison.fetch(identifier) is not None:
            return
        yield Finding(Kind.WITHOUT_SUBSCRIPTION, row.user_id, identifier, row.stripe_customer_id)

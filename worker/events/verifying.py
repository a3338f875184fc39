"""Walks Stripe's subscriptions and our rows side by side, and tells where they differ (`subkeeper verify`).

In constant memory: pages of Stripe's, our rows looked up for each, and the ids that were seen in the file from which
another run goes on (`walk.py`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from worker.domain.deadline import Deadline
from worker.domain.drift import Finding, Kind, Repair
from worker.domain.lanes import Lane
from worker.errors import SubkeeperError
from worker.events.ahead import Ahead
from worker.events.comparing import Comparison, Suspect
from worker.events.comparing_cards import CardComparison
from worker.events.patience import Patience
from worker.events.refresher import Refresher, RefreshLease
from worker.events.spooled_rows import SpooledRows
from worker.events.walk import Listed, Walk
from worker.store import deployment, drift, event_cursor
from worker.store.engine.database import Database
from worker.stripe_api.errors import CursorGone, CustomerGone
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.subscription_list import SubscriptionPage

GRACE = 2.0
"""Seconds before a difference is looked at again: time for an event that is on its way to come in."""

MOST_WAITING = 500
"""So many wait for their second look, and for their turn behind those, at most."""

MENDED = frozenset({"changed", "unchanged", "adopted"})


class Watch(Protocol):
    """Hears how far it got."""

    def advanced(self, subscriptions: int) -> None: ...


_Step = Suspect | Finding | Listed
"""To be looked at again; to be told; a page, which is done once all before it are."""


class Verifier:
    """`refresher` mends what a fetch mends, by leases of `lease`; None: nothing is written."""

    def __init__(
        self,
        database: Database,
        gateway: StripeGateway,
        comparison: Comparison,
        cards: CardComparison,
        refresher: Refresher | None,
        watch: Watch,
        patiently: Patience,
        lease: timedelta,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._comparison = comparison
        self._cards = cards
        self._refresher = refresher
        self._watch = watch
        self._patiently = patiently
        self._lease = lease

    def everything(self, walk: Walk) -> Iterator[Finding]:
        """All differences there are, as they are found, from where the walk is. The caller says what it has told."""
        with self._database.transaction() as tx:
            now, database = drift.now(tx), deployment.database_id(tx)
        began = walk.begin(now, database=database, repair=self._refresher is not None)
        for whose in self._lists()[walk.place.lists :]:
            yield from self._compare(walk, whose, walk.place.after)
        with SpooledRows() as unseen:
            self._spool_unseen(walk, unseen, began)
            for each in unseen:
                yield from self._ask(walk, each.stripe_subscription_id)
                walk.passed(asked=each.row)
                self._watch.advanced(1)
        yield from self._tables(walk, began, None)
        self._heal_gap(walk)

    def of(self, users: Sequence[str], walk: Walk) -> Iterator[Finding]:
        """The differences of these users."""
        with self._database.transaction() as tx:
            began = drift.now(tx)
            customers = drift.customers_of(tx, users)
        gone = []
        for customer_id, user_id in customers.items():
            try:
                yield from self._compare(walk, {"customer_id": customer_id})
            except CustomerGone:
                detail = "Stripe doesn't know it, or has deleted it"
                gone.append(Finding(Kind.ORPHANED_CUSTOMER, user_id, None, customer_id, detail=detail))
        seen = set(walk.seen())
        with self._database.transaction() as tx:
            ours = drift.subscriptions_of(tx, users, began)
        for each in ours:
            if each not in seen:
                yield from self._ask(walk, each)
        yield from gone
        yield from self._tables(walk, began, users)

    def _spool_unseen(self, walk: Walk, unseen: SpooledRows, began: datetime) -> None:
        """No transaction stays open while Stripe is asked."""
        with self._database.transaction() as tx:
            for each in drift.unseen(tx, walk.seen(), began, walk.place.asked):
                unseen.add(each)

    def _heal_gap(self, walk: Walk) -> None:
        """Every row says what Stripe said when the walk began: events of before need not be had any more."""
        if walk.seen_from is not None and not walk.walked.mendable:
            with self._database.transaction() as tx:
                event_cursor.heal_gap(tx, walk.seen_from)

    # At Stripe

    def _lists(self) -> list[dict[str, str]]:
        """All that there are: of subscriptions on no test clock, and of those on ours."""
        test_clock = self._gateway.test_clock
        return [{}] if test_clock is None else [{}, {"test_clock": test_clock}]

    def _compare(self, walk: Walk, whose: Mapping[str, str], after: str | None = None) -> Iterator[Finding]:
        """A page is done once each difference on it, and on those before it, is: from there a run goes on."""
        waiting: deque[tuple[float, _Step]] = deque()
        for page in self._pages(whose, after):
            due = time.monotonic() + GRACE
            for each in page.unreadable:
                found = Finding(Kind.UNREADABLE, stripe_subscription_id=each.id, detail=each.detail)
                waiting.append((0.0, found))
            waiting.extend((due, suspect) for suspect in self._comparison.suspects(page))
            ids = [each.fact.id for each in page.found] + [each.id for each in page.unreadable]
            waiting.append((0.0, Listed(ids, page.seen_from, page.after)))
            self._watch.advanced(len(ids))
            yield from self._go_through(walk, waiting, most=MOST_WAITING)
        yield from self._go_through(walk, waiting, most=0)

    def _pages(self, whose: Mapping[str, str], after: str | None) -> Iterator[SubscriptionPage]:
        ahead = Ahead(partial(self._page, after, whose))
        while True:
            page = ahead.answer()
            if page.after is not None:
                ahead = Ahead(partial(self._page, page.after, whose))
            yield page
            if page.after is None:
                return

    def _page(self, after: str | None, whose: Mapping[str, str]) -> SubscriptionPage:
        def ask(deadline: Deadline) -> SubscriptionPage:
            return self._gateway.subscriptions_page(after, **whose, lane=Lane.BACKFILL, deadline=deadline)

        try:
            return self._patiently(ask)
        except CursorGone as gone:
            raise SubkeeperError(f"Stripe has {after} no longer, where this walk was: begin anew") from gone

    def _go_through(self, walk: Walk, waiting: deque[tuple[float, _Step]], most: int) -> Iterator[Finding]:
        """Those whose time has come, in their order, and the oldest ones where more than `most` wait."""
        while waiting and (len(waiting) > most or waiting[0][0] <= time.monotonic()):
            due, step = waiting.popleft()
            if isinstance(step, Listed):
                walk.compared(step)
            elif isinstance(step, Finding):
                yield from self._told(walk, step)
            else:
                self._patiently.sleep(max(0.0, due - time.monotonic()))
                found = self._comparison.look_again(step)
                walk.walked.in_flight += found is None
                yield from self._told(walk, found)

    def _ask(self, walk: Walk, stripe_subscription_id: str) -> Iterator[Finding]:
        """Of a row that no list had: they leave out what is on another test clock."""
        yield from self._told(walk, self._comparison.ask(stripe_subscription_id))

    def _told(self, walk: Walk, finding: Finding | None) -> Iterator[Finding]:
        if finding is None:
            return
        if self._refresher is not None and finding.mendable and finding.repair is None:
            finding = replace(finding, repair=self._mend(self._refresher, finding))
        if not walk.was_told(finding):
            yield finding

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

    def _tables(self, walk: Walk, began: datetime, users: Sequence[str] | None) -> Iterator[Finding]:
        while page := self._customers(walk.place.customers, began, users):
            for row in page:
                for found in _of_customer(row):
                    yield from self._told(walk, found)
                if row.has_cards or users is not None:
                    yield from self._told(walk, self._cards.ask(row, GRACE))
                    walk.passed(customers=row.id)
            walk.passed(customers=page[-1].id)
        while profiles := self._profiles(walk.place.profiles, began, users):
            for bare in (each for each in profiles if each.bare):
                yield from self._told(walk, self._bare(bare))
            walk.passed(profiles=profiles[-1].user_id)

    def _customers(self, after: int, began: datetime, users: Sequence[str] | None) -> list[drift.CustomerRow]:
        with self._database.transaction() as tx:
            return drift.customers(tx, after, began, users)

    def _profiles(self, after: str, began: datetime, users: Sequence[str] | None) -> list[drift.ProfileRow]:
        with self._database.transaction() as tx:
            return drift.profiles(tx, after, began, users)

    def _bare(self, row: drift.ProfileRow) -> Finding | None:
        """One that Stripe has was told as missing here; what Stripe's lists leave out is asked for by its id."""
        identifier = row.stripe_subscription_id
        if identifier is not None and self._comparison.fetch(identifier) is not None:
            return None
        return Finding(Kind.WITHOUT_SUBSCRIPTION, row.user_id, identifier, row.stripe_customer_id)


def _of_customer(row: drift.CustomerRow) -> Iterator[Finding]:
    if row.orphaned:
        detail = "it has no subscription, and its user no ledger row"
        yield Finding(Kind.ORPHANED_CUSTOMER, row.user_id, None, row.stripe_customer_id, detail=detail)
    if len(row.living) > 1:
        detail = " ".join(row.living)
        yield Finding(Kind.TWO_SUBSCRIPTIONS, row.user_id, None, row.stripe_customer_id, detail=detail)

"""Asks Stripe for its events and publishes those that nobody has processed: what webhooks and brokers lose is healed.

The leader alone asks. Its cursor passes an event only once that is in `processed_stripe_events`; what isn't is listed
by each poll again, and published again after `AGAIN`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from worker.domain.deadline import Clock
from worker.domain.lanes import Lane
from worker.domain.polling import KEPT, OVERLAP, Found, Pace, month_end
from worker.domain.stripe_facts import EventPage
from worker.errors import SubkeeperError
from worker.events import intake, listing
from worker.events.intake import PATIENCE, Intake, Stopping
from worker.events.leadership import Leadership
from worker.events.listing import slices
from worker.events.outlet import Outlet
from worker.events.voice import AllotmentSpent, Voice
from worker.store.engine.errors import LeaseLost
from worker.store.event_cursor import Standing
from worker.store.events import Days
from worker.stripe_api.event_list import EventWindow
from worker.stripe_api.gateway import StripeGateway
from worker.telemetry import Watchdog


class Poller:
    """`run` polls, or waits to, until `stop`. `require_ours` raises while it isn't known whether the key is one of this
    database's account."""

    def __init__(
        self,
        leadership: Leadership,
        gateway: StripeGateway,
        outlet: Outlet,
        voice: Voice,
        *,
        require_ours: Callable[[], None],
        watchdog: Watchdog,
        clock: Clock,
    ) -> None:
        self._lead = leadership
        self._gateway = gateway
        self._outlet = outlet
        self._voice = voice
        self._require_ours = require_ours
        self._watchdog = watchdog
        self._clock = clock
        self._stopping = threading.Event()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._intake = Intake(
            self._lead, self._outlet, self._voice, tend=self._tend, stopping=self._stopping, clock=self._clock
        )
        self._pace = Pace()
        self._reads = 0
        self._is_steady = False

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            with self._watchdog.work():
                self._turn()
            self._stopping.wait(intake.TICK)
        self._resign()

    def _turn(self) -> None:
        is_polling = False
        try:
            if not self._lead.is_held:
                self._require_ours()
                self._stand_by()
            if self._lead.is_held and _is_due(standing := self._tend()):
                is_polling = True
                self._poll(standing)
        except LeaseLost:
            self._lead.lost()
            self._voice.lost()
        except Stopping:
            pass
        except SubkeeperError as error:
            self._voice.failed(error, polling=is_polling)

    def _stand_by(self) -> None:
        standing = self._lead.take()
        if self._lead.is_held:
            self._begin_anew()
            self._voice.leads(standing)
        else:
            self._voice.waits_for_leader()

    def _resign(self) -> None:
        if self._lead.is_held:
            with suppress(SubkeeperError):  # else the lease runs out
                self._lead.resign()

    def _tend(self) -> Standing:
        """Renews the lease, and moves the cursor as far as events were processed."""
        awaited = self._intake.awaited
        with self._lead.write() as row:
            standing = row.standing
            awaited.passed(row.processed(awaited.ids()))
            at, caught_up = awaited.place(standing.created), awaited.caught_up_at
            if at != standing.created or (caught_up and caught_up != standing.caught_up_at):
                row.advance(at, caught_up)
            if standing.behind > KEPT:
                row.note_gap(standing.known_until, standing.now - KEPT)
        self._watchdog.progress()
        self._voice.standing(standing)
        return standing

    def _poll(self, began: Standing) -> None:
        pace, self._pace = self._pace, self._pace.failed()
        is_steady, self._is_steady = self._is_steady, False
        days = self._begin(began)
        taken = self._intake
        self._reads = taken.published = taken.delivered = 0
        since, awaited = began.created - OVERLAP, taken.awaited
        if not pace.sweeps_next:
            awaited.begin_listing()
        for found in slices(self._page, since, undelivered=pace.sweeps_next):
            taken.take(found, began.now, days=days, webhooks_deliver=pace.webhooks_deliver)
            if not pace.sweeps_next:
                awaited.listed_to(_youngest(found, began))
            self._tend()
        if not pace.sweeps_next:
            awaited.end_listing(began.now)
        self._is_steady = True
        self._pace = pace.after(Found(self._reads, taken.published, taken.delivered, is_steady))
        self._schedule(began)
        self._voice.polled(self._tend(), self._pace)

    def _begin(self, began: Standing) -> Days:
        """Lets the next poll be far enough away, whatever becomes of this one."""
        self._schedule(began)
        with self._lead.write() as row:
            return row.days()

    def _schedule(self, began: Standing) -> None:
        """When the next poll is to begin, whoever leads then."""
        with self._lead.write() as row:
            row.poll_at(began.now + self._pace.interval(row.standing.allotment, began.now))

    def _page(self, window: EventWindow, after: str | None) -> EventPage:
        """In the backfills' lane: an event may wait for minutes, as Stripe keeps it, while somebody waits for a signup;
        and the lane's weight gives it a turn every few seconds whatever the others do."""
        if self._stopping.is_set():
            raise Stopping
        with self._lead.write() as row:
            is_counted = row.count_read()
        if not is_counted:
            raise AllotmentSpent
        self._reads += 1
        self._watchdog.progress()
        return self._gateway.events_page(window, after, lane=Lane.BACKFILL, deadline=self._lead.within(PATIENCE))


def _youngest(found: Sequence[listing.Found], began: Standing) -> datetime:
    """When the youngest was created. What Stripe dates in the future (an object of a test clock's) takes the cursor no
    further than the present."""
    return max((min(each.created, began.now) for each in found if each.created), default=began.created)


def _is_due(standing: Standing) -> bool:
    """A time that no poll can have set (the database's clock was set back since) is none."""
    at, now = standing.poll_at, standing.now
    return at is None or at <= now or at > max(month_end(now), now + timedelta(minutes=10))

"""From Stripe's list to NSQ: what nobody has processed is published."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from worker.domain.awaited import Awaited
from worker.domain.deadline import Clock
from worker.domain.event import Event
from worker.domain.polling import DELIVERY
from worker.errors import Unavailable
from worker.events.leadership import Leadership
from worker.events.listing import Found, Malformed
from worker.events.outlet import DEEP, Outlet
from worker.events.refusing import Refusals
from worker.events.voice import Voice
from worker.store.events import Days

TICK = 1.0
"""Seconds between two looks at the row: whoever doesn't lead takes over within that and the lease."""

PATIENCE = 5.0
"""Seconds for Stripe or nsqd to answer in: what remains of the lease then is enough to renew it."""


class Stopping(Exception):
    """The process is to end."""


class Intake:
    """One leader's. `tend` renews the lease; `published` and `delivered` count what was, and what webhooks had
    brought."""

    def __init__(
        self,
        leadership: Leadership,
        outlet: Outlet,
        voice: Voice,
        *,
        tend: Callable[[], object],
        stopping: threading.Event,
        clock: Clock,
    ) -> None:
        self._lead = leadership
        self._outlet = outlet
        self._voice = voice
        self._refusals = Refusals(leadership, voice)
        self._tend = tend
        self._stopping = stopping
        self._clock = clock
        self.awaited = Awaited()
        self.published = self.delivered = 0

    def take(self, found: Sequence[Found], now: datetime, *, days: Days, webhooks_deliver: bool) -> None:
        """Returns once nsqd has what was to be published. `now`: the database's time; `days`: of which events can be
        recorded."""
        dated = {each.id: each.created for each in found if each.id is not None and each.created is not None}
        with self._lead.write() as row:
            known = row.processed(dated)
        self.awaited.passed(known)
        self.delivered += sum(source == "webhook" for source in known.values())
        new = [each for each in found if each.id not in known]
        self._refusals.refuse([(each, each.refusal) for each in new if isinstance(each, Malformed)])
        events = [each for each in new if isinstance(each, Event)]
        due = [each for each in events if self.awaited.is_due(each.id, self._clock())]
        for event in events:
            self.awaited.listed(event.id, event.created)
        young = {each.id for each in due if webhooks_deliver and timedelta(0) <= now - each.created < DELIVERY}
        self._publish([each for each in due if each.id not in young])
        self.awaited.unrecordable(each.id for each in events if each.id not in young and not days.hold(each.created))

    def _publish(self, events: Sequence[Event]) -> None:
        while events and (reason := self._why_not(events)) is not None:
            self._voice.cannot_publish(reason)
            self._tend()
            self._stopping.wait(TICK)
            if self._stopping.is_set():
                raise Stopping

    def _why_not(self, events: Sequence[Event]) -> str | Unavailable | None:
        """Publishes them; what kept it from that, where it is worth waiting for. Raises `Rejected` for what is the same
        for any event: the poll ends, and the next one finds them again, and others beside them."""
        depth = self._outlet.depth()
        if depth is not None and depth > DEEP:
            return f"{depth} messages wait in the channel"
        self._tend()
        try:
            refused = self._outlet.publish(events, lambda: self._lead.within(PATIENCE).timeout(PATIENCE))
        except Unavailable as away:
            return away
        self._refusals.refuse(refused)
        self.awaited.passed(event.id for event, _ in refused)
        taken = len(events) - len(refused)
        again = self.awaited.published((event.id for event in events), self._clock())
        self.published += taken
        self._voice.published(taken - again, again)
        return None

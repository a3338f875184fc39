"""Keeps the gauges current, and deletes what has expired: `Watch` at Postgres, `DepthWatch` at NSQ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial

from worker.broker.admin import ChannelDepths
from worker.domain.lanes import Lane
from worker.errors import SubkeeperError
from worker.runtime.resources import Resources
from worker.settings.sections import NsqSettings
from worker.store import charges, counts, event_cursor, outbox, processes, quarantine, refreshes, stripe_reads
from worker.store.engine.looks import Look
from worker.store.provisioning import quarantined
from worker.store.provisioning.backlog import Queues
from worker.telemetry import Metrics, Watchdog

WATCH_INTERVAL, CLEAN_EVERY = 5.0, 720
"""Seconds between two looks; in every so many of them, what has expired is deleted."""

_PROMPT = {Lane.LIVE, Lane.RETRY}
"""Who waits in these lanes waits too long after minutes; a backfill takes its time."""


class Watch:
    """`run` looks until `stop`. `alive`: the names of the threads that run. `rates`: what may be sent to Stripe, by
    scope."""

    def __init__(
        self, resources: Resources, queues: Queues, rates: Callable[[], Mapping[str, float]] | None = None
    ) -> None:
        self._settings = resources.settings
        self._database = resources.database
        self._rates = rates
        self._queues = queues
        self._reads = resources.reads
        self._changes = Look[outbox.Waiting]()
        self._clocks = resources.clock_watch
        self._metrics = resources.metrics
        self._health = resources.health
        self._watchdog = resources.watchdog
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self, alive: Callable[[], Collection[str]]) -> None:
        turn = 0
        while not self._stopping.is_set():
            with self._watchdog.work():
                self._look(alive, clean=turn % CLEAN_EVERY == 0)
            turn += 1
            self._stopping.wait(WATCH_INTERVAL)
        self._at_postgres(self._count_reads)

    def _look(self, alive: Callable[[], Collection[str]], *, clean: bool) -> None:
        self._metrics.threads_alive(len(alive()))
        for scope, rate in self._rates().items() if self._rates else ():
            self._metrics.limiter_rate(scope, rate)
        self._at_postgres(self._watch_queues)
        self._at_postgres(self._watch_outbox)
        self._at_postgres(self._count_reads)
        self._at_postgres(self._watch_polls)
        self._at_postgres(self._fold_counts)
        self._at_postgres(partial(self._clocks.ask_postgres, self._database))
        self._clocks.compare()
        self._watchdog.progress()
        if clean:
            self._at_postgres(self._forget_expired)

    def _at_postgres(self, look: Callable[[], None]) -> None:
        try:
            look()
        except SubkeeperError as away:
            self._metrics.forget_queues()
            self._metrics.polls.forget()
            self._health.away("postgres", away)

    def _watch_queues(self) -> None:
        """What could not be counted is not set, and soon left out."""
        with self._database.transaction() as tx:
            state = self._queues.state(tx)
            self._metrics.refreshes.standing(*refreshes.backlog(tx))
            self._metrics.charges.standing(*charges.backlog(tx))
        for lane, waiting in state.lanes.items():
            self._metrics.queue(lane, waiting.depth, waiting.age)
        if state.lanes.keys() >= _PROMPT:
            self._metrics.oldest_unsettled(max(state.lanes[lane].age for lane in _PROMPT))
        unopenable = [each.unopenable for each in state.lanes.values() if each.unopenable is not None]
        if len(unopenable) == len(Lane):
            self._metrics.unopenable(sum(unopenable))
        if state.quarantined_rows is not None and state.quarantined_messages is not None:
            self._metrics.in_quarantine(state.quarantined_rows, state.quarantined_messages)
        self._health.set("postgres", ok=True)

    def _watch_outbox(self) -> None:
        with self._database.transaction() as tx:
            waiting = self._changes.take(partial(outbox.waiting, tx))
        if waiting is not None:
            self._metrics.changes_waiting(*waiting)

    def _count_reads(self) -> None:
        """What was read of Stripe since is of the month's, and polls have so much less."""
        if not (sent := self._reads.take()):
            return
        try:
            with self._database.transaction() as tx:
                for purpose, reads in sorted(sent.items()):
                    stripe_reads.add(tx, purpose, reads)
        except SubkeeperError:
            self._reads.put_back(sent)
            raise

    def _watch_polls(self) -> None:
        """Where anybody polls, or did."""
        with self._database.transaction() as tx:
            standing = event_cursor.find(tx, self._settings.stripe.monthly_reads)
        if standing is not None:
            self._metrics.polls.standing(
                behind=standing.behind.total_seconds(),
                left=standing.left.total_seconds(),
                gap=standing.gap.total_seconds(),
                reads_left=standing.allotment.left,
            )

    def _fold_counts(self) -> None:
        with self._database.transaction() as tx:
            counts.fold(tx)

    def _forget_expired(self) -> None:
        with self._database.transaction() as tx:
            quarantined.forget_expired_profiles(tx, timedelta(days=self._settings.quarantine.expiry_days))
            quarantine.forget_expired(tx)
            processes.forget_expired(tx)


class DepthWatch:
    """Shows how deep our channels are, whether anything reads them or not."""

    def __init__(self, nsq: NsqSettings, metrics: Metrics, watchdog: Watchdog) -> None:
        self._channels = ChannelDepths(nsq, [nsq.profile_topic, nsq.backfill_topic, nsq.events_topic])
        self._metrics = metrics
        self._watchdog = watchdog

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            with self._watchdog.work():
                self._metrics.channel_depths(self._channels.look().messages)
            stopping.wait(WATCH_INTERVAL)

"""Reads several topics from several nsqds, in one thread and on one selector."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from worker.broker.connections import Connections
from worker.broker.subscription import Flow
from worker.domain.backlog import Backlog
from worker.domain.messages import Message
from worker.settings.sections import NsqSettings
from worker.telemetry.counts import BrokerCounts


class Links(NamedTuple):
    """How many subscriptions there should be, and how many of these are connected."""

    wanted: int
    connected: int


class Reader:
    """Reads the topics of `weights` on the configured channel; a weight of 3 gets three messages for one of weight 1.

    Everything but `wake` belongs to one thread, which calls `read` at least once per heartbeat interval.

    Nothing that a broker does raises out of here: a connection that fails is closed, logged, and dialed again.
    """

    def __init__(
        self,
        settings: NsqSettings,
        weights: Mapping[str, int],
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        counts: BrokerCounts | None = None,
    ) -> None:
        self.counts = counts or BrokerCounts()
        self._clock = clock
        self._max_in_flight = settings.max_in_flight
        self._backlog = Backlog(weights)
        self._flow = Flow(settings.max_in_flight, weights, clock)
        self._connections = Connections(settings, list(weights), rng, clock, self.counts)
        self._woken = False
        self._stopping = False
        self._closed = False
        self._connections.service()

    # -- reading ----------------------------------------------------------------------------------------------------

    def read(self, limit: int, timeout: float) -> list[Message]:
        """Up to `limit` messages: waits up to `timeout` seconds for the first, then takes what has arrived.

        Empty after `timeout`, after `wake`, once a connection is made or lost, while paused, and once stopped.
        Heartbeats, reconnects, discovery and RDY are looked after in here.
        """
        if self._closed:
            return []
        deadline, until, live = self._clock() + timeout, 0.0, len(self._connections.live)
        while True:
            self._look_after()
            self._poll(until and min(until, self._connections.next_due(), self._flow.next_turn) - self._clock())
            batch = self._take(limit)
            if batch or self._woken or self._clock() >= deadline or len(self._connections.live) != live:
                self._woken = False
                return batch
            until = deadline

    def _look_after(self) -> None:
        """Everything that is due, and RDY where a share has changed."""
        self._connections.service()
        self._flow.update(list(self._connections.live.values()))
        self._flush()

    def _poll(self, wait: float) -> None:
        self._connections.poll(wait)
        self._accept()

    def _accept(self) -> None:
        """Takes what has arrived into the backlog; once stopped, nsqd gets it back."""
        for message in self._connections.arrived:
            self.counts.received += 1
            self.counts.redelivered += message.attempts > 1
            if self._stopping:
                self.requeue([message])
            else:
                self._backlog.add(message)
        self._connections.arrived.clear()

    def _take(self, limit: int) -> list[Message]:
        if self._flow.paused:
            return []
        in_hand = sum(connection.in_flight for connection in self._connections.live) - len(self._backlog)
        return self._backlog.take(min(limit, self._max_in_flight - max(0, in_hand)))

    # -- answering --------------------------------------------------------------------------------------------------

    def finish(self, messages: Iterable[Message]) -> None:
        """FIN each, flushed without blocking (what the sockets don't take goes with the next read).

        A message whose connection is gone, or that is finished already, is passed over: nsqd delivers it again, or not.
        """
        for message in messages:
            if message.source is not None and message.source.finish(message.id):
                self.counts.finished += 1
            else:
                self.counts.orphaned += 1
        self._flush()

    def requeue(self, messages: Iterable[Message], delay: float = 0.0) -> None:
        """REQ each: nsqd delivers it again after `delay` seconds (which it clamps to its --max-req-timeout)."""
        for message in messages:
            if message.source is not None and message.source.requeue(message.id, delay):
                self.counts.requeued += 1
            else:
                self.counts.orphaned += 1
        self._flush()

    def _flush(self) -> None:
        for connection, subscription in list(self._connections.live.items()):
            if connection.unsent:
                self._connections.flush(subscription)

    # -- steering ---------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """RDY 0 everywhere; the subscriptions stay, and so does what has arrived until `resume`."""
        self._set_paused(paused=True)

    def resume(self) -> None:
        self._set_paused(paused=False)

    def _set_paused(self, *, paused: bool) -> None:
        if not self._closed and not self._stopping:
            self._flow.paused = paused
            self._flow.update(list(self._connections.live.values()))
            self._flush()

    def wake(self) -> None:
        """Make a blocked `read` (or the next one) return at once. Thread-safe, also from a signal handler."""
        self._woken = True
        self._connections.wakeup.poke()

    # -- ending -----------------------------------------------------------------------------------------------------

    def stop_receiving(self) -> None:
        """CLS on every connection; what was not handed out goes back to nsqd. What was can still be finished."""
        if self._stopping:
            return
        self._stopping = True
        self._flow.paused = True
        self._connections.stop_recruiting()
        for connection in self._connections.live:
            connection.cls()
        self.requeue(self._backlog.take(len(self._backlog)))

    def close(self, timeout: float) -> None:
        """Give back what was not finished, see everything sent and handled by nsqd, close every socket.

        Takes `timeout` seconds at most; what an unreachable nsqd did not hear comes again after msg_timeout.
        """
        if self._closed:
            return
        self.stop_receiving()
        deadline = self._clock() + timeout
        for subscription in self._connections.live.values():
            assert subscription.connection is not None
            self.counts.requeued += subscription.connection.requeue_all()
        while self._connections.live and self._clock() < deadline:
            for subscription in self._connections.live.values():
                subscription.end_when_drained()
            self._poll(min(0.05, deadline - self._clock()))
        self._closed = True
        self._connections.close()

    # -- watching ---------------------------------------------------------------------------------------------------

    @property
    def links(self) -> Links:
        """Each topic on each nsqd; one that is known under two names counts once."""
        wanted, connected = set(), set()
        for subscription in list(self._connections.subscriptions.values()):
            wanted.add((subscription.peer, subscription.route.topic))
            if subscription.connection is not None:
                connected.add((subscription.peer, subscription.route.topic))
        return Links(len(wanted), len(connected))

    @property
    def troubles(self) -> list[str]:
        """Why what should be connected is not, once for each nsqd: its address, and what it or the system says."""
        subscriptions = list(self._connections.subscriptions.values())
        return sorted(
            {
                f"{subscription.route.address}: {subscription.trouble}"
                for subscription in subscriptions
                if subscription.trouble
            }
        )

    @property
    def connected(self) -> bool:
        """Whether every topic that some nsqd carries can be received from at least one."""
        subscriptions = list(self._connections.subscriptions.values())
        alive = {each.route.topic for each in subscriptions if each.connection is not None}
        return bool(alive) and alive == {each.route.topic for each in subscriptions}

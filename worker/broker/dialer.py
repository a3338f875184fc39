"""Connecting without stalling the loop: an nsqd that is away never keeps us from the others' heartbeats."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from worker.broker.address import Address
from worker.broker.config import ConnectionConfig
from worker.broker.connection import NsqConnection
from worker.broker.faults import Broken
from worker.broker.handshake import open_connection, subscribe


class Route(NamedTuple):
    """One subscription on one nsqd."""

    address: Address
    topic: str


class Dialed(NamedTuple):
    """How an attempt ended: a subscribed connection with RDY 0, or why there is none."""

    route: Route
    outcome: NsqConnection | Broken


class Dialer:
    """Connects and subscribes in a thread per attempt, and calls `notify` (from that thread) when one ends."""

    def __init__(self, config: ConnectionConfig, channel: str, notify: Callable[[], None]) -> None:
        self._config = config
        self._channel = channel
        self._notify = notify
        self._ended: SimpleQueue[Dialed] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False

    def dial(self, route: Route) -> None:
        try:
            threading.Thread(target=self._attempt, args=(route,), name=f"dial {route.address}", daemon=True).start()
        except RuntimeError:  # the system gives us no thread now
            self._ended.put(Dialed(route, Broken("unexpected", "no thread")))

    def ended(self) -> list[Dialed]:
        """The attempts that ended since the last call."""
        found = []
        while True:
            try:
                found.append(self._ended.get_nowait())
            except Empty:
                return found

    def close(self) -> None:
        """Attempts that are still under way close what they open."""
        with self._lock:
            self._closed = True
        for dialed in self.ended():
            _discard(dialed.outcome)

    def _attempt(self, route: Route) -> None:
        outcome = self._connect(route)
        with self._lock:
            if self._closed:
                _discard(outcome)
                return
            self._ended.put(Dialed(route, outcome))
        self._notify()

    def _connect(self, route: Route) -> NsqConnection | Broken:
        connection: NsqConnection | None = None
        try:
            connection = open_connection(route.address, self._config)
            subscribe(connection, route.topic, self._channel, self._config.connect_timeout)
            connection.release()
        except Broken as exc:
            _discard(connection)
            return exc
        except Exception as exc:  # noqa: BLE001  whatever a peer can provoke, the route must be tried again
            _discard(connection)
            return Broken("unexpected", type(exc).__name__)
        return connection


def _discard(outcome: NsqConnection | Broken | None) -> None:
    if isinstance(outcome, NsqConnection):
        outcome.close()

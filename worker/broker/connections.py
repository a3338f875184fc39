"""All subscriptions of a reader: found, connected, watched, reconnected; one selector over their sockets."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
from collections.abc import Callable, Collection
from itertools import product

from worker.broker.config import consumer_config
from worker.broker.connection import NsqConnection
from worker.broker.handshake import Dialer, Route
from worker.broker.lookup import Discovery
from worker.broker.protocol import Broken
from worker.broker.subscription import Subscription
from worker.domain.address import Address, parse_address
from worker.domain.messages import Message
from worker.settings.sections import NsqSettings
from worker.telemetry.counts import BrokerCounts


class Wakeup:
    """A socket pair: `socket` becomes readable after `poke`, until `drain`."""

    def __init__(self) -> None:
        self.socket, self._sender = socket.socketpair()
        self.socket.setblocking(False)
        self._sender.setblocking(False)

    def poke(self) -> None:
        """Thread-safe; harmless after `close`, and when it was poked already."""
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(OSError):
            while self.socket.recv(4096):
                pass

    def close(self) -> None:
        self._sender.close()
        self.socket.close()


TICK = 1.0
"""Seconds between two looks at what has no event of its own: the watchdog, messages that timed out."""

FORGET_AFTER = 900.0
"""Seconds for which a lost nsqd is dialed, and missed, although no nsqlookupd names it any more. They forget it within
moments, and after a restart it must not wait until they are asked again; but it may also be gone for good."""


class Connections:
    """Single-threaded but for `wakeup`. `arrived`: the messages that came, for who takes them out."""

    def __init__(
        self,
        settings: NsqSettings,
        topics: Collection[str],
        rng: random.Random,
        clock: Callable[[], float],
        counts: BrokerCounts,
    ) -> None:
        self.wakeup = Wakeup()
        self.subscriptions: dict[Route, Subscription] = {}
        self.live: dict[NsqConnection, Subscription] = {}
        self.arrived: list[Message] = []
        self._settings, self._rng, self._clock = settings, rng, clock
        self._counts = counts
        self._config = consumer_config(settings, clock)
        self._topics = set(topics)
        self._fixed = {parse_address(text) for text in settings.nsqd_tcp_addresses}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.wakeup.socket, selectors.EVENT_READ)
        self._dialer = Dialer(self._config, settings.channel, self.wakeup.poke)
        self._discovery = Discovery(settings, tuple(topics), rng, self.wakeup.poke)
        self._seen_rounds = 0
        self._next_tick = clock() + TICK
        self._recruiting = True
        for route in product(self._fixed, topics):
            self._add(*route)

    # -- the loop's two halves --------------------------------------------------------------------------------------

    def poll(self, wait: float) -> None:
        """Wait up to `wait` seconds for anything; read what has arrived and send what waits to be sent."""
        for key, events in self._selector.select(max(0.0, wait)):
            if key.data is None:
                self.wakeup.drain()
                continue
            subscription: Subscription = key.data
            if events & selectors.EVENT_READ:
                self._receive(subscription)
            if subscription.connection is not None and subscription.connection.unsent:
                self.flush(subscription)

    def service(self) -> None:
        """Everything that is due: finished attempts, new addresses, reconnects, the watchdog."""
        now = self._clock()
        for dialed in self._dialer.ended():
            self._adopt(dialed.route, dialed.outcome, now)
        self._follow_discovery()
        if self._recruiting:
            self._dial_due(now)
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._tick()

    def next_due(self) -> float:
        """When (by the clock) `service` has something to do that no socket tells."""
        away = [
            subscription.retry_at
            for subscription in self.subscriptions.values()
            if subscription.connection is None and not subscription.dialing
        ]
        return min([self._next_tick, *away] if self._recruiting else [self._next_tick])

    # -- sending ----------------------------------------------------------------------------------------------------

    def flush(self, subscription: Subscription) -> None:
        """Send what the socket takes now; the selector tells when it takes more."""
        connection = subscription.connection
        if connection is None:
            return
        try:
            connection.flush()
        except Broken as exc:
            self.drop(subscription, exc)
            return
        writing = selectors.EVENT_WRITE if connection.unsent else 0
        events = selectors.EVENT_READ | writing
        if self._selector.get_key(connection.sock).events != events:
            self._selector.modify(connection.sock, events, subscription)

    def drop(self, subscription: Subscription, broken: Broken) -> None:
        connection = subscription.connection
        if connection is None:
            return
        self._selector.unregister(connection.sock)
        del self.live[connection]
        if not subscription.ending:
            self._counts.disconnects[broken.reason] += 1
        subscription.drop(broken, self._clock())

    # -- ending -----------------------------------------------------------------------------------------------------

    def stop_recruiting(self) -> None:
        """No new connections from here on; the present ones go on."""
        self._recruiting = False
        self._discovery.close()
        self._dialer.close()

    def release(self, subscription: Subscription) -> None:
        """Close this subscription's connection on our own wish."""
        connection = subscription.connection
        if connection is not None:
            self._selector.unregister(connection.sock)
            del self.live[connection]
            connection.close()
            subscription.connection, subscription.ready = None, 0

    def close(self) -> None:
        self.stop_recruiting()
        for subscription in list(self.live.values()):
            self.release(subscription)
        self._selector.close()
        self.wakeup.close()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _add(self, address: Address, topic: str) -> None:
        route = Route(address, topic)
        if route not in self.subscriptions:
            self.subscriptions[route] = Subscription(route, self._config, self._settings.reconnect_max, self._rng)

    def _receive(self, subscription: Subscription) -> None:
        if subscription.connection is None:
            return
        try:
            for message in subscription.receive():
                self.arrived.append(message)
        except Broken as exc:
            self.drop(subscription, exc)

    def _adopt(self, route: Route, outcome: NsqConnection | Broken, now: float) -> None:
        subscription = self.subscriptions[route]
        if isinstance(outcome, Broken):
            subscription.refused(outcome, now)
            return
        subscription.attach(outcome, now)
        self.live[outcome] = subscription
        self._selector.register(outcome.sock, selectors.EVENT_READ, subscription)
        self._receive(subscription)

    def _follow_discovery(self) -> None:
        if self._discovery.rounds == self._seen_rounds:
            return
        self._seen_rounds = self._discovery.rounds
        found = self._discovery.routes()
        for address, topic in found:
            self._add(address, topic)
        for route, subscription in list(self.subscriptions.items()):
            named = route.address in self._fixed or route in found
            if (
                subscription.connection is None
                and not subscription.dialing
                and not named
                and not self._lost_lately(subscription)
            ):
                del self.subscriptions[route]

    def _lost_lately(self, subscription: Subscription) -> bool:
        return subscription.lost_at is not None and self._clock() - subscription.lost_at < FORGET_AFTER

    def _misses_something(self) -> bool:
        """Whether an nsqlookupd may know where to find what is missing: a topic, or an nsqd that is back elsewhere."""
        received = {subscription.route.topic for subscription in self.live.values()}
        return received != self._topics or any(map(self._lost_lately, self.subscriptions.values()))

    def _dial_due(self, now: float) -> None:
        for subscription in self.subscriptions.values():
            if subscription.connection is None and not subscription.dialing and subscription.retry_at <= now:
                subscription.dialing = True
                self._dialer.dial(subscription.route)

    def _tick(self) -> None:
        self._discovery.hurry(hurried=self._misses_something())
        for subscription in list(self.live.values()):
            subscription.forget_timed_out()
            try:
                subscription.check_silence()
            except Broken as exc:
                self.drop(subscription, exc)

"""nsqlookupd: which nsqds carry a topic."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from worker.broker.http import HttpApi
from worker.broker.protocol import Broken
from worker.domain.address import Address, parse_address
from worker.errors import Unavailable
from worker.settings.sections import NsqSettings

HURRIED_INTERVAL = 2.0
"""Seconds between two questions, at most, while something is missing that an nsqlookupd may know of."""


class Node(NamedTuple):
    """An nsqd as nsqlookupd knows it: where it speaks TCP and where HTTP, and of which topics it is being relieved."""

    tcp: Address
    http: Address
    tombstoned: frozenset[str] = frozenset()


class LookupClient:
    """One nsqlookupd; Unavailable for whatever goes wrong."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address = address
        self._api = HttpApi("nsqlookupd", address, timeout)

    def producers(self, topic: str) -> set[Address]:
        """The nsqds that carry `topic`; none while nobody has published to it."""
        return {node.tcp for node in self._nodes("/lookup", topic=topic)}

    def nodes(self) -> set[Node]:
        """Every nsqd that is registered."""
        return self._nodes("/nodes")

    def create_channel(self, topic: str, channel: str) -> None:
        """An nsqd that gets the topic later asks for the channels known here, and creates them first."""
        self._api.post("/channel/create", topic=topic, channel=channel)

    def close(self) -> None:
        self._api.close()

    def _nodes(self, path: str, **fields: str) -> set[Node]:
        try:
            return {_node(producer) for producer in self._api.get(path, **fields).get("producers") or []}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as exc:
            raise self._api.failed(f"an answer that can't be read ({type(exc).__name__})") from exc


def _node(producer: Mapping[str, Any]) -> Node:
    host = str(producer["broadcast_address"])
    tombstones = zip(producer.get("topics") or [], producer.get("tombstones") or [], strict=False)
    return Node(
        Address(host, int(producer["tcp_port"])),
        Address(host, int(producer["http_port"])),
        frozenset(str(topic) for topic, tombstoned in tombstones if tombstoned),
    )


class Discovery:
    """Asks every nsqlookupd in a thread of its own; `routes()` is what they said last.

    A lookupd that is away changes nothing: what it said before stays. `notify` is called from the thread after a round.
    """

    def __init__(
        self, settings: NsqSettings, topics: Sequence[str], rng: random.Random, notify: Callable[[], None]
    ) -> None:
        self._clients = [LookupClient(text, settings.lookupd_timeout) for text in settings.lookupd_http_addresses]
        self._topics = tuple(topics)
        self._interval = settings.lookupd_poll_interval
        self._rng = rng
        self._notify = notify
        self._known: dict[tuple[str, str], set[Address]] = {}
        self._failing: set[str] = set()
        self._hurried = False
        self._closed = False
        self._again = threading.Event()
        self.rounds = 0
        if self._clients:
            threading.Thread(target=self._run, name="nsqlookupd", daemon=True).start()

    def routes(self) -> set[tuple[Address, str]]:
        """Every (nsqd, topic) that some nsqlookupd named in its last answer."""
        known = dict(self._known)
        return {(address, topic) for (_, topic), addresses in known.items() for address in addresses}

    def hurry(self, *, hurried: bool) -> None:
        """Whether to ask now, and then at least every `HURRIED_INTERVAL`."""
        if hurried and not self._hurried:
            self._again.set()
        self._hurried = hurried

    def close(self) -> None:
        self._closed = True
        self._again.set()

    def _run(self) -> None:
        while not self._closed:
            self._again.clear()
            for client in self._clients:
                self._ask(client)
            self.rounds += 1
            self._notify()
            interval = min(self._interval, HURRIED_INTERVAL) if self._hurried else self._interval
            if not self._closed:
                self._again.wait(interval * self._rng.uniform(0.8, 1.2))
        for client in self._clients:
            client.close()

    def _ask(self, client: LookupClient) -> None:
        try:
            for topic in self._topics:
                self._known[client.address, topic] = client.producers(topic)
        except Unavailable as exc:
            if client.address not in self._failing:
                structlog.get_logger().warning("nsqlookupd.failed", address=client.address, reason=exc.detail)
            self._failing.add(client.address)
            return
        if client.address in self._failing:
            self._failing.discard(client.address)
            structlog.get_logger().info("nsqlookupd.recovered", address=client.address)


AGAIN_AFTER = 10
"""Intervals after which a publication that has its connection asks an nsqlookupd that failed to answer once more."""


class Targets:
    """The configured nsqds and those that an nsqlookupd names, but for a topic's tombstoned ones.

    A tombstone (`/topic/tombstone`) asks producers to leave an nsqd, which is to be emptied: what is published there
    would bring the topic back.
    """

    def __init__(self, settings: NsqSettings, rng: random.Random) -> None:
        self._fixed = {parse_address(text) for text in settings.nsqd_tcp_addresses}
        self._lookups = [LookupClient(text, settings.lookupd_timeout) for text in settings.lookupd_http_addresses]
        self._interval = settings.lookupd_poll_interval
        self._rng = rng
        self._said: dict[LookupClient, set[Node]] = {}
        self._failing: dict[LookupClient, float] = {}  # when to ask it again
        self._look_at = 0.0
        self._candidates: list[Address] = []

    def next(self, topic: str) -> Address:
        """Each in its turn, in an order drawn anew for each round. Broken when there is none."""
        if not self._candidates:
            self._look(self._lookups)
            nodes = {node.tcp for said in self._said.values() for node in said}
            self._candidates = sorted(self._fixed | nodes)
            self._rng.shuffle(self._candidates)
        tombstoned = self._tombstoned(topic)
        while self._candidates:
            if (address := self._candidates.pop()) not in tombstoned:
                return address
        raise Broken("unreachable", "every nsqd is tombstoned" if tombstoned else "no nsqd is known")

    def is_tombstoned(self, address: Address, topic: str) -> bool:
        """Whether to leave that nsqd."""
        return address in self._tombstoned(topic)

    def close(self) -> None:
        for lookup in self._lookups:
            lookup.close()

    def _tombstoned(self, topic: str) -> set[Address]:
        """The nsqlookupds are asked every `lookupd_poll_interval`, but one that failed to answer the last time seldom:
        a publication that has its connection would wait for it."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look([lookup for lookup in self._lookups if self._failing.get(lookup, now) <= now])
        return {node.tcp for said in self._said.values() for node in said if topic in node.tombstoned}

    def _look(self, lookups: list[LookupClient]) -> None:
        """What one that doesn't answer said before stays."""
        for lookup in lookups:
            log = structlog.get_logger().bind(address=lookup.address)
            try:
                self._said[lookup] = lookup.nodes()
            except Unavailable as exc:
                if lookup not in self._failing:
                    log.warning("nsqlookupd.failed", reason=exc.detail)
                self._failing[lookup] = time.monotonic() + AGAIN_AFTER * self._interval
            else:
                if self._failing.pop(lookup, None) is not None:
                    log.info("nsqlookupd.recovered")
        self._look_at = time.monotonic() + self._interval

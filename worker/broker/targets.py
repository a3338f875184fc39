"""Where to publish to."""

from __future__ import annotations

import random
import time

import structlog

from worker.broker.address import Address, parse_address
from worker.broker.faults import Broken
from worker.broker.lookup import LookupClient, Node
from worker.errors import Unavailable
from worker.settings import NsqSettings

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

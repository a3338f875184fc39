"""How deep our channels are, all nsqds together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import structlog

from worker.broker.address import parse_address
from worker.broker.lookup import LookupClient
from worker.broker.nsqd_api import Identity, NsqdApi, default_http
from worker.errors import Unavailable
from worker.settings import NsqSettings

MISSED_FOR = 900.0
"""Seconds for which an nsqd that told its depth is asked again, and missed, although nothing names it any more."""

_AT_ONCE = 8


class Depths(NamedTuple):
    """Messages that wait, by topic, at those that told (no topic at all where nobody did); who should have, and why he
    didn't."""

    messages: dict[str, int]
    silent: list[Unavailable]


class _Told(NamedTuple):
    identity: Identity
    messages: dict[str, int]


class ChannelDepths:
    """Looks again and again; one thread's. An nsqd under two names counts once, one that doesn't answer is left out of
    the sum, and said so once.

    Known are the configured nsqds and those that an nsqlookupd names, as far as their HTTP interface is known, too.
    """

    def __init__(
        self,
        settings: NsqSettings,
        topics: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._topics = tuple(topics)
        self._clock = clock
        self._lookups = [LookupClient(text, settings.lookupd_timeout) for text in settings.lookupd_http_addresses]
        self._named: dict[LookupClient, set[str]] = {lookup: set() for lookup in self._lookups}
        self._beside = {default_http(tcp): tcp.port for tcp in map(parse_address, settings.nsqd_tcp_addresses)}
        self._told_at: dict[str, float] = {}
        self._failing: set[str] = set()

    def look(self) -> Depths:
        """Asks everybody at once; takes a few times `lookupd_timeout` at most."""
        silent = self._ask_lookups()
        asked = sorted(self._expected() | set(self._beside))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="depths") as pool:
            answers = dict(zip(asked, pool.map(self._ask, asked), strict=True))
        told = {address: answer for address, answer in answers.items() if isinstance(answer, _Told)}
        self._told_at |= dict.fromkeys(told, self._clock())
        expected = self._expected()
        missing = {at: answer for at, answer in answers.items() if isinstance(answer, Unavailable) and at in expected}
        self._say(told, missing)
        each = {answer.identity: answer.messages for answer in told.values()}.values()
        messages = {topic: sum(of[topic] for of in each) for topic in self._topics} if each else {}
        return Depths(messages, [*silent, *missing.values()])

    def _ask_lookups(self) -> list[Unavailable]:
        """What one that doesn't answer said before stays. Its failure is the reader's to log."""
        silent = []
        for lookup in self._lookups:
            try:
                self._named[lookup] = {str(node.http) for node in lookup.nodes()}
            except Unavailable as away:
                silent.append(away)
        return silent

    def _expected(self) -> set[str]:
        """The HTTP interfaces that should answer."""
        horizon = self._clock() - MISSED_FOR
        lately = {address for address, at in self._told_at.items() if at > horizon or address in self._beside}
        return lately.union(self._settings.nsqd_http_addresses, *self._named.values())

    def _ask(self, address: str) -> _Told | Unavailable | None:
        """None: what answers there is none of our nsqds."""
        try:
            with closing(NsqdApi(address, self._settings.lookupd_timeout)) as api:
                identity = api.identity()
                if address in self._beside and identity.tcp_port != self._beside[address]:
                    return None
                return _Told(identity, {topic: api.depth(topic, self._settings.channel) for topic in self._topics})
        except Unavailable as away:
            return away

    def _say(self, told: Iterable[str], missing: dict[str, Unavailable]) -> None:
        for address in sorted(missing.keys() - self._failing):
            structlog.get_logger().warning("nsqd_stats.failed", address=address, reason=missing[address].detail)
        for address in sorted(self._failing.intersection(told)):
            structlog.get_logger().info("nsqd_stats.recovered", address=address)
        self._failing = set(missing)

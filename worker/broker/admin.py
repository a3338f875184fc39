"""Topics and channels on every nsqd: created, waited for until they are empty, how deep they are; and what
one nsqlookupd or nsqd says to whoever asks without changing anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple

import structlog

from worker.broker.config import consumer_config
from worker.broker.handshake import open_connection, subscribe
from worker.broker.http import Identity, NsqdApi, default_http, http_beside
from worker.broker.lookup import LookupClient, Node
from worker.broker.protocol import Broken
from worker.domain.address import Address, parse_address
from worker.errors import Unavailable
from worker.settings.sections import NsqSettings


class Nsqd(NamedTuple):
    """An nsqd and its HTTP interface, where that is known (`host:port`)."""

    tcp: Address
    http: str | None


def ensure_channel(settings: NsqSettings, topic: str, channel: str) -> bool | None:
    """Create `topic` with `channel` on every nsqd: whether some nsqd lacked it (None: no nsqd could tell).

    A channel gets only what is published after it exists. Unavailable when an nsqd or nsqlookupd cannot be reached: a
    setup that left one out would lose messages later.
    """
    found = [_ensure_on(nsqd, settings, topic, channel) for nsqd in known_nsqds(settings)]
    for client in _lookups(settings):
        client.create_channel(topic, channel)
    told = [created for created in found if created is not None]
    return any(told) if told else None


def unfinished(settings: NsqSettings, topic: str, channel: str) -> int | None:
    """Messages of `topic` that `channel` has not finished, in flight and deferred ones included, all nsqds together.

    None when no nsqd's HTTP interface is known. A message on its way between two queues of nsqd's may be missing from
    one answer. Unavailable when an nsqd that is known does not answer.
    """
    apis = [_api(nsqd.http, settings) for nsqd in known_nsqds(settings) if nsqd.http]
    each = {api.identity(): api for api in apis}.values()
    return sum(api.unfinished(topic, channel) for api in each) if apis else None


def known_nsqds(settings: NsqSettings) -> list[Nsqd]:
    """Configured by TCP or HTTP address, or registered with an nsqlookupd; each once for each of its names.

    Unavailable when an nsqlookupd, or a configured HTTP interface, does not answer.
    """
    found: dict[Address, Nsqd] = {}
    for client in _lookups(settings):
        found |= {node.tcp: Nsqd(node.tcp, str(node.http)) for node in client.nodes()}
    for text in settings.nsqd_http_addresses:
        tcp = Address(parse_address(text).host, _api(text, settings).identity().tcp_port)
        found[tcp] = Nsqd(tcp, text)
    for tcp in map(parse_address, settings.nsqd_tcp_addresses):
        if tcp not in found:
            found[tcp] = Nsqd(tcp, http_beside(tcp, settings.lookupd_timeout))
    return sorted(found.values())


def _ensure_on(nsqd: Nsqd, settings: NsqSettings, topic: str, channel: str) -> bool | None:
    if nsqd.http is not None:
        api = _api(nsqd.http, settings)
        existed = api.has_channel(topic, channel)
        api.create_channel(topic, channel)
        return not existed
    try:
        _subscribe_once(nsqd.tcp, settings, topic, channel)
    except Broken as broken:
        raise Unavailable("nsqd", f"{nsqd.tcp}: {broken}") from broken
    return None


def _subscribe_once(address: Address, settings: NsqSettings, topic: str, channel: str) -> None:
    """nsqd creates both at SUB; with RDY never sent, nothing is delivered to this connection."""
    connection = open_connection(address, consumer_config(settings, time.monotonic))
    try:
        subscribe(connection, topic, channel, settings.connect_timeout)
    finally:
        connection.close()


def _api(address: str, settings: NsqSettings) -> NsqdApi:
    return NsqdApi(address, settings.lookupd_timeout)


def _lookups(settings: NsqSettings) -> Sequence[LookupClient]:
    return [LookupClient(text, settings.lookupd_timeout) for text in settings.lookupd_http_addresses]


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


def registered(settings: NsqSettings, lookupd: str) -> set[Node]:
    """The nsqds that one nsqlookupd (`host:port` of its HTTP interface) knows."""
    client = LookupClient(lookupd, settings.lookupd_timeout)
    try:
        return client.nodes()
    finally:
        client.close()


def introduce(settings: NsqSettings, address: Address, channels: Sequence[tuple[str, str]]) -> Mapping[str, object]:
    """Connect as a consumer does (IDENTIFY, TLS, AUTH): nsqd's answer to IDENTIFY.

    Each (topic, channel) is subscribed to, on a connection of its own that takes no message: only that shows whether
    nsqd lets us. They must exist, since subscribing would create them.
    """
    features: Mapping[str, object] = {}
    subscriptions: Sequence[tuple[str, str] | None] = channels or [None]
    try:
        for subscription in subscriptions:
            connection = open_connection(address, consumer_config(settings, time.monotonic))
            try:
                features = connection.features
                if subscription is not None:
                    subscribe(connection, *subscription, settings.connect_timeout)
            finally:
                connection.close()
    except Broken as broken:
        raise Unavailable("nsqd", f"{address}: {broken}") from broken
    return features

"""What one nsqd or nsqlookupd says of itself, asked without changing anything. Every error is `Unavailable`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.broker.address import Address, parse_address
from worker.broker.connection import NsqConnection
from worker.broker.faults import Broken
from worker.broker.http import HttpApi
from worker.broker.lookup import LookupClient, Node
from worker.broker.peering import consumer_peering
from worker.errors import Unavailable
from worker.settings import NsqSettings


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A topic's channel on one nsqd; `paused`: it, or its topic, is."""

    exists: bool
    paused: bool


def registered(settings: NsqSettings, lookupd: str) -> set[Node]:
    """The nsqds that one nsqlookupd (`host:port` of its HTTP interface) knows."""
    client = LookupClient(lookupd, settings.lookupd_timeout)
    try:
        return client.nodes()
    finally:
        client.close()


def tcp_address(settings: NsqSettings, http_address: str) -> Address:
    """The nsqd whose HTTP interface this is, by the host that reached it."""
    host = parse_address(http_address, "nsq.nsqd_http_addresses").host
    return Address(host, _number(HttpApi("nsqd", http_address, settings.lookupd_timeout), "/info", "tcp_port"))


def introduce(settings: NsqSettings, address: Address, channels: Sequence[tuple[str, str]]) -> Mapping[str, object]:
    """Connect as a consumer does (IDENTIFY, TLS, AUTH): nsqd's answer to IDENTIFY.

    Each (topic, channel) is subscribed to, on a connection of its own that takes no message: only that shows whether
    nsqd lets us. They must exist, since subscribing would create them.
    """
    features: Mapping[str, object] = {}
    subscriptions: Sequence[tuple[str, str] | None] = channels or [None]
    try:
        for subscription in subscriptions:
            connection = NsqConnection(address, consumer_peering(settings, time.monotonic))
            try:
                features = connection.features
                if subscription is not None:
                    connection.subscribe(*subscription)
            finally:
                connection.close()
    except Broken as broken:
        raise Unavailable("nsqd", f"{address}: {broken}") from broken
    return features


def channel_state(settings: NsqSettings, http_address: str, topic: str, channel: str) -> ChannelState:
    """By nsqd's statistics."""
    api = HttpApi("nsqd", http_address, settings.lookupd_timeout)
    stats = api.get("/stats", format="json", topic=topic, channel=channel, include_clients="false", include_mem="false")
    try:
        topics = stats.get("topics") or []
        channels = [entry for found in topics for entry in found.get("channels") or []]
        paused = any(entry.get("paused") for entry in (*topics, *channels))
    except (AttributeError, TypeError) as exc:
        raise api.failed("an answer that is none") from exc
    return ChannelState(bool(channels), paused)


def option(settings: NsqSettings, http_address: str, name: str) -> int | None:
    """One of nsqd's own settings (`max_msg_size`); None where it doesn't tell."""
    return HttpApi("nsqd", http_address, settings.lookupd_timeout).number(f"/config/{name}")


def _number(api: HttpApi, path: str, field: str) -> int:
    value = api.get(path).get(field)
    if not isinstance(value, int):
        raise api.failed("an answer that is not nsqd's")
    return value

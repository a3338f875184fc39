"""Topics and channels on every nsqd: created, and waited for until they are empty."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from worker.broker.address import Address, parse_address
from worker.broker.config import consumer_config
from worker.broker.faults import Broken
from worker.broker.handshake import open_connection, subscribe
from worker.broker.lookup import LookupClient
from worker.broker.nsqd_api import NsqdApi, http_beside
from worker.errors import Unavailable
from worker.settings import NsqSettings


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
        tcp = Address(parse_address(text, "nsq.nsqd_http_addresses").host, _api(text, settings).identity().tcp_port)
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

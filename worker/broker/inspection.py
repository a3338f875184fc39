"""What one nsqlookupd or nsqd says to whoever asks without changing anything. Every error is `Unavailable`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from worker.broker.address import Address
from worker.broker.config import consumer_config
from worker.broker.faults import Broken
from worker.broker.handshake import open_connection, subscribe
from worker.broker.lookup import LookupClient, Node
from worker.errors import Unavailable
from worker.settings import NsqSettings


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

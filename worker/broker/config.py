"""How we introduce ourselves to an nsqd: limits, IDENTIFY, and by what it knows us."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.broker.credentials import Credentials
from worker.settings import NsqSettings
from worker.version import VERSION

OUTPUT_BUFFER_MS = 25
"""nsqd holds output back for 250 ms by default (116 ms p50 from publish to receipt, measured); 25 is its minimum. Never
-1 alone, which means "until the buffer is full": 27 s, measured."""

FRAME_OVERHEAD = 4 + 8 + 2 + 16
"""Bytes of a message's frame beside its body: frame type, timestamp, attempts, id."""

MAX_FRAME = 64 * 1024 * 1024 + FRAME_OVERHEAD
"""What no nsqd sends: four bytes of another protocol, taken for a length, are far beyond it ("HTTP" is 1.2 GB)."""


FIRST_RECONNECT = 0.1
"""Seconds before the first new attempt: a restarted nsqd listens again in about that time."""


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """What every connection of one kind has in common. Times are in seconds, `max_message` is in bytes."""

    connect_timeout: float
    silence: float | None
    msg_timeout: float
    max_message: int
    identify: Mapping[str, object]
    credentials: Credentials
    clock: Callable[[], float] = time.monotonic


def consumer_config(settings: NsqSettings, clock: Callable[[], float]) -> ConnectionConfig:
    """For a subscription: with heartbeats; two of them unheard (by `clock`) means that the peer is gone."""
    heartbeat = {"heartbeat_interval": int(settings.heartbeat_interval * 1000)}
    return _config(settings, heartbeat, silence=2 * settings.heartbeat_interval, clock=clock)


def publisher_config(settings: NsqSettings) -> ConnectionConfig:
    """For publishing: without heartbeats, as nobody reads the socket between two publications."""
    return _config(settings, {"heartbeat_interval": -1}, silence=None)


def _config(
    settings: NsqSettings,
    heartbeat: Mapping[str, int],
    silence: float | None,
    clock: Callable[[], float] = time.monotonic,
) -> ConnectionConfig:
    return ConnectionConfig(
        connect_timeout=settings.connect_timeout,
        silence=silence,
        msg_timeout=settings.msg_timeout,
        max_message=settings.max_message_bytes,
        identify={**_identify(settings), **heartbeat},
        credentials=Credentials(settings),
        clock=clock,
    )


def _identify(settings: NsqSettings) -> dict[str, object]:
    hostname = socket.gethostname()
    return {
        "client_id": hostname.partition(".")[0],
        "hostname": hostname,
        "user_agent": f"subkeeper/{VERSION}",
        "feature_negotiation": True,
        "output_buffer_timeout": OUTPUT_BUFFER_MS,
        "msg_timeout": int(settings.msg_timeout * 1000),
        "tls_v1": settings.tls.enabled,
    }

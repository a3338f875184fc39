"""How we introduce ourselves to an nsqd: limits, IDENTIFY, TLS, and the auth secret."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.errors import Misconfigured
from worker.settings import NsqSettings, NsqTlsSettings
from worker.settings.secrets import read_secret
from worker.version import VERSION

OUTPUT_BUFFER_MS = 25
"""nsqd holds output back for 250 ms by default (116 ms p50 from publish to receipt, measured); 25 is its minimum. Never
-1 alone, which means "until the buffer is full": 27 s, measured."""

FRAME_OVERHEAD = 4 + 8 + 2 + 16
"""Bytes of a message's frame beside its body: frame type, timestamp, attempts, id."""

MAX_FRAME = 64 * 1024 * 1024 + FRAME_OVERHEAD
"""What no nsqd sends: four bytes of another protocol, taken for a length, are far beyond it ("HTTP" is 1.2 GB)."""


@dataclass(frozen=True, slots=True)
class Peering:
    """What every connection of one kind has in common. Times are in seconds, `max_message` is in bytes."""

    connect_timeout: float
    silence: float | None
    msg_timeout: float
    max_message: int
    identify: Mapping[str, object]
    auth_secret: bytes | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    clock: Callable[[], float] = time.monotonic


def consumer_peering(settings: NsqSettings, clock: Callable[[], float]) -> Peering:
    """For a subscription: with heartbeats; two of them unheard (by `clock`) means that the peer is gone."""
    heartbeat = {"heartbeat_interval": int(settings.heartbeat_interval * 1000)}
    return _peering(settings, heartbeat, silence=2 * settings.heartbeat_interval, clock=clock)


def publisher_peering(settings: NsqSettings) -> Peering:
    """For publishing: without heartbeats, as nobody reads the socket between two publications."""
    return _peering(settings, {"heartbeat_interval": -1}, silence=None)


def _peering(
    settings: NsqSettings,
    heartbeat: Mapping[str, int],
    silence: float | None,
    clock: Callable[[], float] = time.monotonic,
) -> Peering:
    secret = read_secret("nsq.auth_secret_file", settings.auth_secret, settings.auth_secret_file)
    return Peering(
        connect_timeout=settings.connect_timeout,
        silence=silence,
        msg_timeout=settings.msg_timeout,
        max_message=settings.max_message_bytes,
        identify={**_identify(settings), **heartbeat},
        auth_secret=secret.encode() if secret else None,
        tls=tls_context(settings.tls) if settings.tls.enabled else None,
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


def tls_context(settings: NsqTlsSettings) -> ssl.SSLContext:
    """A context that verifies nsqd's certificate and name; Misconfigured when a file is wrong.

    nsq-py calls `ssl.wrap_socket` (TLS 1.0, nothing verified, gone in Python 3.12).
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as exc:
        fix = "Check ca_file, cert_file and key_file: PEM, readable, and belonging together"
        raise Misconfigured("nsq.tls", f"the TLS files cannot be loaded ({type(exc).__name__})", fix) from exc
    return context

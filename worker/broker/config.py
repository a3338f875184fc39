"""How we introduce ourselves to an nsqd: limits, IDENTIFY, the auth secret and TLS, which are followed when their
files change.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from worker.errors import Misconfigured
from worker.settings.secrets import Secret
from worker.settings.sections import NsqSettings, NsqTlsSettings
from worker.version import VERSION

Value = TypeVar("Value")
Stamps = list[tuple[int, ...] | None]


class Credentials:
    """Asked at each attempt to connect, so that a certificate or secret is replaced without a restart. Thread-safe.

    Raises `Misconfigured` at first where a file can't be used.
    """

    def __init__(self, settings: NsqSettings) -> None:
        tls, secret_file = settings.tls, settings.auth_secret_file
        tls_files = [file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file is not None]
        self._tls = _Followed("nsq.tls", tls_files, lambda: tls_context(tls) if tls.enabled else None)
        secret_files = [secret_file] if secret_file is not None else []
        self._auth_secret = _Followed("nsq.auth_secret_file", secret_files, lambda: _auth_secret(settings))

    def tls(self) -> ssl.SSLContext | None:
        return self._tls.value()

    def auth_secret(self) -> bytes | None:
        return self._auth_secret.value()


class _Followed(Generic[Value]):
    """What `load` makes of `files`, made anew once they have changed; a change that it refuses, with `Misconfigured`,
    leaves the value as it was and is said once. It may be half done: a certificate whose key is written next."""

    def __init__(self, name: str, files: Sequence[Path], load: Callable[[], Value]) -> None:
        self._name = name
        self._files = files
        self._load = load
        self._lock = threading.Lock()
        self._refusal = ""
        self._seen = self._stamps()
        self._value = load()

    def value(self) -> Value:
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._follow(stamps)
            return self._value

    def _follow(self, stamps: Stamps) -> None:
        log = structlog.get_logger().bind(setting=self._name)
        try:
            self._value = self._load()
        except Misconfigured as refused:
            if str(refused) != self._refusal:
                log.error("nsq_credentials.refused", reason=str(refused))  # noqa: TRY400 - it says all there is
            self._refusal = str(refused)
            return
        self._seen, self._refusal = stamps, ""
        log.info("nsq_credentials.changed")

    def _stamps(self) -> Stamps:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Another one for every change of the file, or of what a symbolic link leads to (Kubernetes' secrets)."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _auth_secret(settings: NsqSettings) -> bytes | None:
    secret = Secret("nsq.auth_secret_file", settings.auth_secret, settings.auth_secret_file).read()
    return secret.encode() if secret else None


def _words(exc: OSError) -> str:
    """What TLS's library (`KEY_VALUES_MISMATCH`) or the system says."""
    if isinstance(exc, ssl.SSLError):
        return exc.reason or "not PEM"
    return exc.strerror or type(exc).__name__


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
        files = ", ".join(str(each) for each in (settings.ca_file, settings.cert_file, settings.key_file) if each)
        raise Misconfigured("nsq.tls", f"{files} cannot be loaded ({_words(exc)})", fix) from exc
    return context


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

"""Opening a connection to an nsqd, and waiting for its answers: IDENTIFY, TLS, AUTH, SUB. Blocking, with a deadline;
and by a thread of its own, so that an nsqd that is away never keeps us from the others' heartbeats.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from nsq import constants
from nsq.response import Error

from worker.broker.config import ConnectionConfig
from worker.broker.connection import NsqConnection
from worker.broker.protocol import Broken, broken_by, error_words, system_words
from worker.domain.address import Address


def open_connection(address: Address, config: ConnectionConfig) -> NsqConnection:
    """Connected, identified, encrypted and authenticated: SUB or PUB may be sent. Raises `Broken`.

    All of it takes `connect_timeout` at most, but that connecting alone may take as long.
    """
    deadline = time.monotonic() + config.connect_timeout
    try:
        sock = connected(address, config.connect_timeout)
    except (OSError, UnicodeError) as exc:
        raise Broken("unreachable", system_words(exc)) from exc
    connection = NsqConnection(address, config, sock)
    try:
        _recognize(connection)
        _introduce(connection, config, deadline)
    except Broken:
        connection.close()
        raise
    except OSError as exc:
        connection.close()
        raise broken_by(exc) from exc
    return connection


def subscribe(connection: NsqConnection, topic: str, channel: str, timeout: float) -> None:
    """SUB and wait for nsqd's OK: from here the channel exists. Nothing arrives before the first RDY."""
    connection.sub(topic.encode(), channel.encode())
    _expect_ok(connection, time.monotonic() + timeout)


def await_answer(connection: NsqConnection, deadline: float) -> bytes:
    """Flush, then block until nsqd answers (its bytes), or Broken: refused with its error code, or late.

    `deadline` is by `time.monotonic`. Heartbeats in between are answered.
    """
    while True:
        connection.sock.settimeout(_remaining(deadline))
        _flush_or_hear_why_not(connection)
        for response in connection.take(1) or (connection.fill() and connection.take(1)) or ():
            if isinstance(response, Error):
                raise Broken("refused", error_words(response))
            if response.data != constants.HEARTBEAT:
                return bytes(response.data)
            connection.nop()


def _recognize(connection: NsqConnection) -> None:
    """Whom it leads to."""
    ours, theirs = connection.sock.getsockname()[0], connection.sock.getpeername()  # a reset socket no longer tells
    connection.peer = "" if theirs[0] == ours else theirs[0], theirs[1]
    connection.addresses = addresses_of(connection.host, connection.port, connection.sock.family)


def _introduce(connection: NsqConnection, config: ConnectionConfig, deadline: float) -> None:
    connection.identify(dict(config.identify))
    connection.features = features = _features(await_answer(connection, deadline))
    connection.max_rdy_count = features.get("max_rdy_count", sys.maxsize)
    tls = config.credentials.tls()
    if tls is not None:
        _encrypt(connection, tls, deadline)
    if features.get("auth_required"):
        _authenticate(connection, config, deadline)


def _features(answer: bytes) -> dict[str, Any]:
    try:
        features = json.loads(answer)
    except ValueError:
        features = None
    if not isinstance(features, dict):
        raise Broken("refused", "nsqd did not negotiate features")
    return features


def _encrypt(connection: NsqConnection, tls: ssl.SSLContext, deadline: float) -> None:
    """Never falls back to plain text; bytes that came unencrypted after IDENTIFY's answer are not trusted."""
    if not connection.features.get("tls_v1"):
        raise Broken("refused", "nsqd offers no TLS")
    if not connection.is_clean:
        raise Broken("bad_frame", "plain bytes before the TLS handshake")
    connection.sock.settimeout(_remaining(deadline))
    connection.sock = tls.wrap_socket(connection.sock, server_hostname=connection.host)
    _expect_ok(connection, deadline)


def _authenticate(connection: NsqConnection, config: ConnectionConfig, deadline: float) -> None:
    secret = config.credentials.auth_secret()
    if secret is None:
        raise Broken("refused", "nsqd wants nsq.auth_secret")
    connection.auth(secret)
    await_answer(connection, deadline)


def _expect_ok(connection: NsqConnection, deadline: float) -> None:
    if await_answer(connection, deadline) != b"OK":
        raise Broken("bad_frame", "nsqd's answer was not OK")


def _flush_or_hear_why_not(connection: NsqConnection) -> None:
    """nsqd answers a body that is too big before it has read it, and hangs up: its answer is still to be read."""
    try:
        connection.flush()
    except Broken:
        with contextlib.suppress(Broken):
            while connection.fill():
                pass
        for response in connection.take(1):
            if isinstance(response, Error):
                raise Broken("refused", error_words(response)) from None
        raise


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Broken("timeout")
    return left


class Route(NamedTuple):
    """One subscription on one nsqd."""

    address: Address
    topic: str


class Dialed(NamedTuple):
    """How an attempt ended: a subscribed connection with RDY 0, or why there is none."""

    route: Route
    outcome: NsqConnection | Broken


class Dialer:
    """Connects and subscribes in a thread per attempt, and calls `notify` (from that thread) when one ends."""

    def __init__(self, config: ConnectionConfig, channel: str, notify: Callable[[], None]) -> None:
        self._config = config
        self._channel = channel
        self._notify = notify
        self._ended: SimpleQueue[Dialed] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False

    def dial(self, route: Route) -> None:
        try:
            threading.Thread(target=self._attempt, args=(route,), name=f"dial {route.address}", daemon=True).start()
        except RuntimeError:  # the system gives us no thread now
            self._ended.put(Dialed(route, Broken("unexpected", "no thread")))

    def ended(self) -> list[Dialed]:
        """The attempts that ended since the last call."""
        found = []
        while True:
            try:
                found.append(self._ended.get_nowait())
            except Empty:
                return found

    def close(self) -> None:
        """Attempts that are still under way close what they open."""
        with self._lock:
            self._closed = True
        for dialed in self.ended():
            _discard(dialed.outcome)

    def _attempt(self, route: Route) -> None:
        outcome = self._connect(route)
        with self._lock:
            if self._closed:
                _discard(outcome)
                return
            self._ended.put(Dialed(route, outcome))
        self._notify()

    def _connect(self, route: Route) -> NsqConnection | Broken:
        connection: NsqConnection | None = None
        try:
            connection = open_connection(route.address, self._config)
            subscribe(connection, route.topic, self._channel, self._config.connect_timeout)
            connection.release()
        except Broken as exc:
            _discard(connection)
            return exc
        except Exception as exc:  # noqa: BLE001  whatever a peer can provoke, the route must be tried again
            _discard(connection)
            return Broken("unexpected", type(exc).__name__)
        return connection


def _discard(outcome: NsqConnection | Broken | None) -> None:
    if isinstance(outcome, NsqConnection):
        outcome.close()


def connected(address: Address, timeout: float) -> socket.socket:
    """A socket that notices a peer which vanished. IPv6 and IPv4, whichever of the host's addresses answers first in
    order. Raises `OSError`, and `UnicodeError` for a name that can't be one."""
    sock = socket.create_connection((address.host, address.port), timeout=timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    return sock


def addresses_of(host: str, port: int, family: int) -> int:
    """How many addresses of one family (IPv4, IPv6) the name has; the two families' may be one machine's. Asks DNS."""
    try:
        return len({found[4][0] for found in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return 0

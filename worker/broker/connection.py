"""One TCP connection to an nsqd: nsq-py's `Connection` with everything that goes wrong handled."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections import deque
from itertools import islice
from typing import Any

from nsq import constants
from nsq.connection import Connection
from nsq.response import Error, Response

from worker.broker.address import Address, addresses_of
from worker.broker.faults import Broken, broken_by, error_words, system_words
from worker.broker.frames import pack, take_frames
from worker.broker.peering import Peering
from worker.broker.quiet import quiet_nsq

READ_BYTES = 64 * 1024
READS_PER_TURN = 16
"""At most 1 MiB is read from one connection before the others have their turn."""

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NsqConnection(Connection):  # type: ignore[misc]  # nsq-py ships no types
    """Connected, identified, encrypted and authenticated once constructed, or `Broken` is raised.

    Blocking with a deadline until `release()`, then non-blocking. Not thread-safe after that.
    `fault` is what `receive` ran into; `features` is nsqd's answer to IDENTIFY.
    `peer` is where the other end is, however it was dialed: its IP address ("" for this machine) and port.
    `in_flight` holds the ids of the messages that nsqd waits for, with the time (`Peering.clock`) of their arrival.
    """

    def __init__(self, address: Address, peering: Peering) -> None:
        # nsq-py's own __init__ resolves the host's full name over DNS and connects over IPv4 only: not called.
        quiet_nsq()
        self.address = address
        self.host, self.port = address.host, address.port
        self.peer: tuple[str, int] = (address.host, address.port)
        self.max_rdy_count: int = sys.maxsize
        self.features: dict[str, Any] = {}
        self.in_flight: dict[bytes, float] = {}
        self.fault: Broken | None = None
        self._peering = peering
        self._socket_lock = threading.RLock()
        self._reset()
        self.connect()

    def _reset(self) -> None:
        super()._reset()
        self._blocking = True
        self._pending: deque[bytes] = deque()
        self._out_buffer: memoryview | None = None
        self._buffer: bytearray = bytearray()
        self.last_received = self._peering.clock()

    # -- connecting -------------------------------------------------------------------------------------------------

    def connect(self, force: bool = False) -> bool:  # noqa: ARG002  nsq-py's signature
        """Everything up to where SUB or PUB may be sent, within `connect_timeout` for each of its two halves."""
        deadline = time.monotonic() + self._peering.connect_timeout
        try:
            self._dial()
            self._introduce(deadline)
        except Broken:
            self.close()
            raise
        except OSError as exc:
            self.close()
            raise broken_by(exc) from exc
        return True

    def _dial(self) -> None:
        """IPv6 and IPv4, whichever of the host's addresses answers first in order."""
        timeout = self._peering.connect_timeout
        try:
            sock = socket.create_connection((self.host, self.port), timeout=timeout)
        except (OSError, UnicodeError) as exc:
            raise Broken("unreachable", system_words(exc)) from exc
        self._socket: socket.socket | None = sock
        ours, theirs = sock.getsockname()[0], sock.getpeername()  # a socket that was reset no longer tells
        self.peer = "" if theirs[0] == ours else theirs[0], theirs[1]
        self.addresses = addresses_of(self.host, self.port, sock.family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)

    def _introduce(self, deadline: float) -> None:
        self._pending.append(constants.MAGIC_V2)
        self.identify(dict(self._peering.identify))
        self.features = features = self._features(self.await_answer(deadline))
        self.max_rdy_count = features.get("max_rdy_count", sys.maxsize)
        tls = self._peering.credentials.tls()
        if tls is not None:
            self._encrypt(tls, features, deadline)
        if features.get("auth_required"):
            self._authenticate(deadline)

    @staticmethod
    def _features(answer: bytes) -> dict[str, Any]:
        try:
            features = json.loads(answer)
        except ValueError:
            features = None
        if not isinstance(features, dict):
            raise Broken("refused", "nsqd did not negotiate features")
        return features

    def _encrypt(self, tls: ssl.SSLContext, features: dict[str, Any], deadline: float) -> None:
        """Never falls back to plain text; bytes that came unencrypted after IDENTIFY's answer are not trusted."""
        if not features.get("tls_v1"):
            raise Broken("refused", "nsqd offers no TLS")
        if self._buffer:
            raise Broken("bad_frame", "plain bytes before the TLS handshake")
        assert self._socket is not None
        self._socket.settimeout(_remaining(deadline))
        self._socket = tls.wrap_socket(self._socket, server_hostname=self.host)
        self._expect_ok(deadline)

    def _authenticate(self, deadline: float) -> None:
        secret = self._peering.credentials.auth_secret()
        if secret is None:
            raise Broken("refused", "nsqd wants nsq.auth_secret")
        self.auth(secret)
        self.await_answer(deadline)

    def subscribe(self, topic: str, channel: str) -> None:
        """SUB and wait for nsqd's OK: from here the channel exists. Nothing arrives before the first RDY."""
        self.sub(topic.encode(), channel.encode())
        self._expect_ok(time.monotonic() + self._peering.connect_timeout)

    def _expect_ok(self, deadline: float) -> None:
        if self.await_answer(deadline) != b"OK":
            raise Broken("bad_frame", "nsqd's answer was not OK")

    def release(self) -> None:
        """From here on, nothing blocks: `receive` and `flush` do what they can."""
        assert self._socket is not None
        self._socket.setblocking(False)
        self._blocking = False

    @property
    def sock(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(self, command: bytes, message: Any = None) -> None:
        """Queue a command; it leaves with the next `flush`."""
        frame = command + constants.NL
        if message is not None:
            frame += pack(message)
        self._pending.append(frame)

    @property
    def unsent(self) -> bool:
        return bool(self._pending) or bool(self._out_buffer)

    def flush(self) -> int:
        """Send what the socket takes; how many bytes went. The rest stays, and no byte goes twice.

        What a send has begun is kept as it is until it is wholly sent, which is also what TLS asks for.
        """
        total = 0
        while self._socket is not None and self.unsent:
            if not self._out_buffer:
                self._out_buffer = memoryview(b"".join(self._pending))
                self._pending.clear()
            try:
                sent = self._socket.send(self._out_buffer)
            except _WOULD_BLOCK:
                break
            except OSError as exc:
                raise broken_by(exc) from exc
            self._out_buffer = self._out_buffer[sent:]
            total += sent
        return total

    # -- receiving --------------------------------------------------------------------------------------------------

    def receive(self) -> list[Response]:
        """Every whole frame that has arrived, without waiting. Sets `fault` once the peer is gone or talks nonsense.

        What came together with the answer to SUB waits in the buffer already, whether the socket has more or not. A
        fault does not take away what came before it: a broker that died may have lost those messages itself.
        """
        responses: list[Response] = []
        try:
            more, turns = True, 0
            while more and turns < READS_PER_TURN:
                more, turns = self._fill(), turns + 1
                responses.extend(take_frames(self._buffer, self))
        except Broken as exc:
            self.fault = exc
        return responses

    def _fill(self) -> bool:
        """Take up to 64 KiB from the socket: whether there may be more. An empty read means closed."""
        if self._socket is None:
            raise Broken("closed", "by us")
        try:
            packet = self._socket.recv(READ_BYTES)
        except _WOULD_BLOCK:
            return False
        except OSError as exc:
            raise broken_by(exc) from exc
        if not packet:
            raise Broken("closed_by_peer")
        self.last_received = self._peering.clock()
        self._buffer += packet
        return True

    def _read(self, limit: int = sys.maxsize) -> list[Response]:
        """Up to `limit` whole frames out of the buffer."""
        with contextlib.closing(take_frames(self._buffer, self)) as frames:
            return list(islice(frames, limit))

    def await_answer(self, deadline: float) -> bytes:
        """Flush, then block until nsqd answers (its bytes), or Broken: refused with its error code, or late.

        `deadline` is by `time.monotonic`. Heartbeats in between are answered.
        """
        while True:
            self.sock.settimeout(_remaining(deadline))
            self._flush_or_hear_why_not()
            for response in self._read(1) or (self._fill() and self._read(1)) or ():
                if isinstance(response, Error):
                    raise Broken("refused", error_words(response))
                if response.data != constants.HEARTBEAT:
                    return bytes(response.data)
                self.nop()

    def is_idle(self) -> bool:
        """Whether the peer is still there and has said nothing since its last answer; never waits."""
        try:
            self.sock.settimeout(0.0)
            return not self._fill()
        except Broken:
            return False

    def _flush_or_hear_why_not(self) -> None:
        """nsqd answers a body that is too big before it has read it, and hangs up: its answer is still to be read."""
        try:
            self.flush()
        except Broken:
            with contextlib.suppress(Broken):
                while self._fill():
                    pass
            for response in self._read(1):
                if isinstance(response, Error):
                    raise Broken("refused", error_words(response)) from None
            raise

    # -- ending -----------------------------------------------------------------------------------------------------

    def half_close(self) -> None:
        """Tell nsqd that no more comes; it handles what was sent, then closes its side."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)  # an SSLSocket's own would end its decryption, too

    def close(self) -> None:
        """Close the socket at once; what is unsent is lost. Never raises."""
        sock, self._socket = self._socket, None
        self.in_flight.clear()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise Broken("timeout")
    return remaining

"""One TCP connection to an nsqd: nsq-py's `Connection` with everything that goes wrong handled."""

from __future__ import annotations

import contextlib
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

from worker.broker.address import Address, addresses_of, connected
from worker.broker.config import ConnectionConfig
from worker.broker.faults import Broken, broken_by, error_words, system_words
from worker.broker.frames import pack, take_frames
from worker.broker.quiet import quiet_nsq

READ_BYTES = 64 * 1024
READS_PER_TURN = 16
"""At most 1 MiB is read from one connection before the others have their turn."""

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NsqConnection(Connection):  # type: ignore[misc]  # nsq-py ships no types
    """`worker.broker.handshake` opens one. Blocking with a deadline until `release()`, then non-blocking, and not
    thread-safe.

    `fault` is what `receive` ran into; `features` is nsqd's answer to IDENTIFY.
    `peer` is where the other end is, however it was dialed: its IP address ("" for this machine) and port.
    """

    def __init__(self, address: Address, config: ConnectionConfig) -> None:
        # nsq-py's own __init__ resolves the host's full name over DNS and connects over IPv4 only: not called.
        quiet_nsq()
        self.address = address
        self.host, self.port = address.host, address.port
        self.peer: tuple[str, int] = (address.host, address.port)
        self.max_rdy_count: int = sys.maxsize
        self.features: dict[str, Any] = {}
        self._in_flight: dict[bytes, float] = {}
        self.fault: Broken | None = None
        self._config = config
        self._socket_lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._blocking = True
        self._pending: deque[bytes] = deque()
        self._out_buffer: memoryview | None = None
        self._buffer: bytearray = bytearray()
        self.last_received = self._config.clock()

    connect = None  # nsq-py's: IPv4 only, and without an end

    # -- connecting -------------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Connects, within `connect_timeout`. Raises `Broken`."""
        try:
            sock = connected(self.address, self._config.connect_timeout)
        except (OSError, UnicodeError) as exc:
            raise Broken("unreachable", system_words(exc)) from exc
        self._socket: socket.socket | None = sock
        ours, theirs = sock.getsockname()[0], sock.getpeername()  # a socket that was reset no longer tells
        self.peer = "" if theirs[0] == ours else theirs[0], theirs[1]
        self.addresses = addresses_of(self.host, self.port, sock.family)
        self._pending.append(constants.MAGIC_V2)

    def encrypt(self, tls: ssl.SSLContext, deadline: float) -> None:
        """The TLS handshake; bytes that came unencrypted before it are not trusted."""
        if self._buffer:
            raise Broken("bad_frame", "plain bytes before the TLS handshake")
        self.sock.settimeout(remaining(deadline))
        self._socket = tls.wrap_socket(self.sock, server_hostname=self.host)

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
        self.last_received = self._config.clock()
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
            self.sock.settimeout(remaining(deadline))
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

    # -- messages that nsqd waits for -------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """How many messages have arrived here, and were neither answered nor taken back."""
        return len(self._in_flight)

    def arrived(self, message_id: bytes, now: float) -> None:
        """`now`: by `ConnectionConfig.clock`."""
        self._in_flight[message_id] = now

    def forget_arrived_before(self, horizon: float) -> None:
        """nsqd has taken them back by itself."""
        for message_id in [key for key, since in self._in_flight.items() if since < horizon]:
            del self._in_flight[message_id]

    def finish(self, message_id: bytes) -> bool:
        """FIN, if nsqd still waits for that: whether it does."""
        if not self._answered(message_id):
            return False
        self.fin(message_id)
        return True

    def requeue(self, message_id: bytes, delay: float) -> bool:
        """REQ with `delay` in seconds, likewise."""
        if not self._answered(message_id):
            return False
        self.req(message_id, int(delay * 1000))
        return True

    def requeue_all(self) -> int:
        """REQ for all that is in flight: how many."""
        return sum(self.requeue(message_id, 0) for message_id in list(self._in_flight))

    def _answered(self, message_id: bytes) -> bool:
        return self._in_flight.pop(message_id, None) is not None

    # -- ending -----------------------------------------------------------------------------------------------------

    def half_close(self) -> None:
        """Tell nsqd that no more comes; it handles what was sent, then closes its side."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)  # an SSLSocket's own would end its decryption, too

    def close(self) -> None:
        """Close the socket at once; what is unsent is lost. Never raises."""
        sock, self._socket = self._socket, None
        self._in_flight.clear()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()


def remaining(deadline: float) -> float:
    """Seconds until `deadline` (`time.monotonic`). Raises `Broken` once it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise Broken("timeout")
    return left

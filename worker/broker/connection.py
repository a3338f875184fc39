"""One TCP connection to an nsqd: nsq-py's `Connection` with everything that goes wrong handled."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
from collections import deque
from collections.abc import Generator
from itertools import islice
from typing import Any

from nsq import constants
from nsq.connection import Connection
from nsq.response import Response

from worker.broker.config import MAX_FRAME, ConnectionConfig
from worker.broker.protocol import LENGTH, Broken, broken_by, pack, quiet_nsq
from worker.domain.address import Address

READ_BYTES = 64 * 1024
READS_PER_TURN = 16
"""At most 1 MiB is read from one connection before the others have their turn."""

_WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NsqConnection(Connection):  # type: ignore[misc]  # nsq-py ships no types
    """`worker.broker.handshake` opens one. Blocking with a deadline until `release()`, then non-blocking, and not
    thread-safe.

    `fault` is what `receive` ran into; `features` is nsqd's answer to IDENTIFY.
    `peer` is where the other end is, however it was dialed: its IP address ("" for this machine) and port; `addresses`,
    how many its name has.
    """

    def __init__(self, address: Address, config: ConnectionConfig, sock: socket.socket) -> None:
        # nsq-py's own __init__ resolves the host's full name over DNS and connects over IPv4 only: not called.
        quiet_nsq()
        self.address = address
        self.host, self.port = address.host, address.port
        self.peer: tuple[str, int] = (address.host, address.port)
        self.addresses = 0
        self.max_rdy_count: int = sys.maxsize
        self.features: dict[str, Any] = {}
        self._in_flight: dict[bytes, float] = {}
        self.fault: Broken | None = None
        self._config = config
        self._socket_lock = threading.RLock()
        self._reset()
        self._socket: socket.socket | None = sock
        self._pending.append(constants.MAGIC_V2)

    def _reset(self) -> None:
        super()._reset()
        self._blocking = True
        self._pending: deque[bytes] = deque()
        self._out_buffer: memoryview | None = None
        self._buffer: bytearray = bytearray()
        self.last_received = self._config.clock()

    connect = None  # nsq-py's: IPv4 only, and without an end

    def release(self) -> None:
        """From here on, nothing blocks: `receive` and `flush` do what they can."""
        assert self._socket is not None
        self._socket.setblocking(False)
        self._blocking = False

    @property
    def sock(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    @sock.setter
    def sock(self, encrypted: socket.socket) -> None:
        self._socket = encrypted

    @property
    def is_clean(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._buffer

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

    def receive(self) -> list[Response]:
        """Every whole frame that has arrived, without waiting. Sets `fault` once the peer is gone or talks nonsense.

        What came together with the answer to SUB waits in the buffer already, whether the socket has more or not. A
        fault does not take away what came before it: a broker that died may have lost those messages itself.
        """
        responses: list[Response] = []
        try:
            more, turns = True, 0
            while more and turns < READS_PER_TURN:
                more, turns = self.fill(), turns + 1
                responses.extend(take_frames(self._buffer, self))
        except Broken as exc:
            self.fault = exc
        return responses

    def fill(self) -> bool:
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

    def take(self, limit: int) -> list[Response]:
        """Up to `limit` whole frames out of the buffer."""
        with contextlib.closing(take_frames(self._buffer, self)) as frames:
            return list(islice(frames, limit))

    def is_idle(self) -> bool:
        """Whether the peer is still there and has said nothing since its last answer; never waits."""
        try:
            self.sock.settimeout(0.0)
            return not self.fill()
        except Broken:
            return False

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


def take_frames(buffer: bytearray, connection: Connection) -> Generator[Response, None, None]:
    """Whole frames out of `buffer`, which keeps the rest; a partial one waits there for its end.

    Broken for a length that nsqd never sends, a type it does not have, and a message without its header. What was taken
    leaves the buffer when the generator ends or is closed; don't touch it before.
    """
    end = 0
    view = memoryview(buffer)
    try:
        while len(view) - end >= 4:
            size = _size(view, end)
            if len(view) - end - 4 < size:
                break
            start, end = end + 4, end + 4 + size
            yield _decode(connection, bytes(view[start:end]))
    finally:
        view.release()
        del buffer[:end]


def _size(view: memoryview, start: int) -> int:
    size: int = LENGTH.unpack_from(view, start)[0]
    if not 4 <= size <= MAX_FRAME:
        raise Broken("bad_frame", f"a length of {size}")
    return size


def _decode(connection: Connection, raw: bytes) -> Response:
    try:
        return Response.from_raw(connection, raw)
    except (TypeError, struct.error) as exc:
        raise Broken("bad_frame", "unknown type or too short") from exc

"""A TCP peer that speaks NSQ's protocol as a test tells it to: for what a real nsqd cannot be made to do."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

TIMEOUT = 10.0
RESPONSE, ERROR, MESSAGE = 0, 1, 2


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">ll", len(data) + 4, kind) + data


def message_frame(body: bytes, message_id: bytes = b"0123456789abcdef", attempts: int = 1) -> bytes:
    return frame(MESSAGE, struct.pack(">qH16s", 1_700_000_000_123_456_789, attempts, message_id) + body)


class Session:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(TIMEOUT)
        self._file = sock.makefile("rb")

    def line(self) -> bytes:
        """The next command's line, without its newline; b"" at the end."""
        return self._file.readline().rstrip(b"\n")

    def command(self, name: bytes) -> bytes:
        """The next line that begins with `name`; others in between are passed over."""
        while True:
            line = self.line()
            if not line or line.split(b" ")[0] == name:
                return line

    def body(self) -> bytes:
        return self._file.read(struct.unpack(">l", self._file.read(4))[0])

    def introduced(self) -> dict[str, Any]:
        """Take the magic and IDENTIFY (returned), and answer nothing yet."""
        assert self._file.read(4) == b"  V2"
        assert self.line() == b"IDENTIFY"
        said: dict[str, Any] = json.loads(self.body())
        return said

    def identify(self, **features: Any) -> dict[str, Any]:
        """Take the magic and IDENTIFY (returned), and answer with these features."""
        said = self.introduced()
        self.send(frame(RESPONSE, json.dumps({"max_rdy_count": 2500, **features}).encode()))
        return said

    def subscribed(self) -> Self:
        """As far as a consumer that waits for messages."""
        self.identify()
        assert self.line().startswith(b"SUB ")
        self.send(frame(RESPONSE, b"OK"))
        return self

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        self._file.close()
        self.sock.close()


class Peer:
    """Listens on a free port of loopback."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.sessions: list[Session] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self, serve: Callable[[], object] = lambda: time.sleep(0.01)) -> Session:
        """The next connection; `serve` is called until it comes (a reader dials only while it reads)."""
        deadline = time.monotonic() + TIMEOUT
        while not select.select([self._listener], [], [], 0)[0]:
            assert time.monotonic() < deadline, "nobody connected"
            serve()
        session = Session(self._listener.accept()[0])
        self.sessions.append(session)
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for session in self.sessions:
            session.close()

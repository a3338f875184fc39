"""A pooler in transaction mode: every transaction of a client runs in another session than the one before.

As pgbouncer with `pool_mode = transaction` may do it at any time; here it does it each time.
"""

from __future__ import annotations

import itertools
import re
import select
import socket
import struct
import threading
from contextlib import ExitStack, suppress
from typing import Self

_ENCRYPTED = frozenset({80877103, 80877104})
"""SSLRequest and GSSENCRequest (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""


_KEY, _NO_PROCESS = re.compile(rb"K(\x00\x00\x00.)....", re.DOTALL), rb"K\1" + bytes(3) + b"\1"
"""BackendKeyData, and the same with a process id that no session has."""


class Pooler:
    """`with Pooler(port) as pooler:` clients dial `pooler.port`. Postgres must trust them.

    The transactions of a client take turns in `sessions` of Postgres; `handed_over` counts them. Clients get a cancel
    key of the pooler's own, unless it is `transparent`: then it is the first session's.
    """

    def __init__(self, port: int, *, sessions: int = 2, transparent: bool = False) -> None:
        self._target = port
        self._sessions = sessions
        self._transparent = transparent
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.handed_over = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with ExitStack() as closing, suppress(OSError):
            closing.enter_context(client)
            startup = _startup(client)
            sessions = [
                closing.enter_context(socket.create_connection(("127.0.0.1", self._target)))
                for _ in range(self._sessions)
            ]
            greetings = [_greeting(session, startup) for session in sessions]
            client.sendall(greetings[0] if self._transparent else _KEY.sub(_NO_PROCESS, greetings[0]))
            turns = itertools.cycle(sessions)
            while self._transaction(client, next(turns)):
                self.handed_over += 1

    def _transaction(self, client: socket.socket, session: socket.socket) -> bool:
        """Passes on what both say until the session is idle; False once either has hung up."""
        while True:
            readable, _, _ = select.select([client, session], [], [])
            if client in readable:
                chunk = client.recv(65536)
                if not chunk:
                    return False
                session.sendall(chunk)
            if session in readable:
                answer = _message(session)
                client.sendall(answer)
                if answer == b"Z\x00\x00\x00\x05I":
                    return True


def _startup(client: socket.socket) -> bytes:
    """The client's startup packet; encryption is declined."""
    while True:
        (length,) = struct.unpack("!i", head := _exactly(client, 4))
        packet = head + _exactly(client, length - 4)
        if struct.unpack("!i", packet[4:8])[0] not in _ENCRYPTED:
            return packet
        client.sendall(b"N")


def _greeting(session: socket.socket, startup: bytes) -> bytes:
    """Opens the session; all that Postgres says up to its first ReadyForQuery."""
    session.sendall(startup)
    said = b""
    while not (message := _message(session)).startswith(b"Z"):
        said += message
    return said + message


def _message(session: socket.socket) -> bytes:
    head = _exactly(session, 5)
    return head + _exactly(session, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(peer: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        chunk = peer.recv(count - len(found))
        if not chunk:
            raise ConnectionError("the peer hung up")
        found += chunk
    return found

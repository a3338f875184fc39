"""Stands between a worker and Postgres, and loses commits: what was asked, or what was answered."""

from __future__ import annotations

import random
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The simple query, as psycopg sends it (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""


class CommitThief:
    """`with CommitThief(port, rng, thefts=20) as thief:` workers dial `thief.port`.

    Takes every commit until `thefts` are reached. `rng` draws whether Postgres gets it: in either case the client hears
    nothing, and its connection is reset once the server has done what it does. `taken` counts (lost, unanswered).
    """

    def __init__(self, port: int, rng: random.Random, *, thefts: int) -> None:
        self._target = port
        self._rng = rng
        self._left = thefts
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.taken = [0, 0]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def is_done(self) -> bool:
        return self._left <= 0

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            muted = threading.Event()
            answers = threading.Thread(target=_copy, args=(server, client, muted), daemon=True)
            answers.start()
            while chunk := client.recv(65536):
                if COMMIT in chunk and self._takes():
                    self._steal(chunk, client, server, muted, answers)
                    return
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)
            answers.join(5)

    def _takes(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _steal(
        self, chunk: bytes, client: socket.socket, server: socket.socket, muted: threading.Event,
        answers: threading.Thread,
    ) -> None:  # fmt: skip
        muted.set()
        unanswered = self._rng.random() < 0.5
        if unanswered:
            server.sendall(chunk)
        server.shutdown(socket.SHUT_WR)  # Postgres does what it has read, and ends the session
        answers.join(5)
        with self._lock:
            self.taken[unanswered] += 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _copy(source: socket.socket, sink: socket.socket, muted: threading.Event) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            if not muted.is_set():
                sink.sendall(chunk)
        if not muted.is_set():
            sink.shutdown(socket.SHUT_WR)

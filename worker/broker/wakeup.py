"""Makes a blocked `select` return, from any thread or signal handler."""

from __future__ import annotations

import contextlib
import socket


class Wakeup:
    """A socket pair: `socket` becomes readable after `poke`, until `drain`."""

    def __init__(self) -> None:
        self.socket, self._sender = socket.socketpair()
        self.socket.setblocking(False)
        self._sender.setblocking(False)

    def poke(self) -> None:
        """Thread-safe; harmless after `close`, and when it was poked already."""
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")

    def drain(self) -> None:
        with contextlib.suppress(OSError):
            while self.socket.recv(4096):
                pass

    def close(self) -> None:
        self._sender.close()
        self.socket.close()

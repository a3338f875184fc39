"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import secrets
import socket

FIRST, LAST = 20_000, 32_000
"""Below the ranges from which Linux (32768-60999) and macOS (49152-65535) take the ports of outgoing connections.

So a port stays free while its server is down for a restart, and a client that keeps dialling it cannot be given
that very port for its own end and connect to itself.
"""


def free_port() -> int:
    """A port that nobody listens on now. Somebody may take it before it is used: whoever binds it tries again."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        if _is_free(port):
            return port


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts TCP connections on 127.0.0.1:`port` (within `timeout` seconds)."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=timeout).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

"""A WSGI application on a port of its own, served by waitress in daemon threads, closed promptly."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog
from waitress import wasyncore
from waitress.server import create_server

from worker.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_THREADS = 2
_STOP_SECONDS = 2.0
_MAX_CONNECTIONS = 500
"""Beyond that it accepts no more until one ends, which takes `_SILENCE_SECONDS` at most. It stays well below the 1,024
descriptors that a process commonly has."""

_SILENCE_SECONDS = 5
"""After so long without a byte a connection is closed, in the middle of a request too."""

_MAX_HEADER_BYTES = 16 * 1024
_MAX_BODY_BYTES = 1024
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_PAUSE = 0.1
"""Seconds to wait where a connection can't be accepted for want of descriptors: it stays pending, and waitress would
try again at once, on a full core."""

_LOOPBACK = "Use 127.0.0.1 or ::1"


class _Listener(socket.socket):
    """A listening socket that is not asked all the time while the system gives nothing."""

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                time.sleep(_EXHAUSTED_PAUSE)
            raise


class HttpServer:
    """Binds when made (so that `port` is known and a taken port is told at once), serves from `start` to `stop`.

    `port` 0 takes a free one. `name` is the section of the settings that it belongs to. Raises `Misconfigured` for an
    address that this machine or user can't have, `Unavailable` for one that is taken: it may be free again soon.
    """

    def __init__(self, app: WSGIApplication, host: str, port: int, *, name: str) -> None:
        self._app = app
        self._name = name
        self._socket = _bind(host, port, name)
        self.host: str = self._socket.getsockname()[0]
        self.port: int = self._socket.getsockname()[1]
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve, in milliseconds."""
        # poll() and not select(), which fails on descriptors of 1024 and more
        self._server = create_server(
            self._app,
            map={},
            sockets=[self._socket],
            threads=_THREADS,
            asyncore_use_poll=True,
            ident=None,
            connection_limit=_MAX_CONNECTIONS,
            channel_timeout=_SILENCE_SECONDS,
            cleanup_interval=1,
            max_request_header_size=_MAX_HEADER_BYTES,
            max_request_body_size=_MAX_BODY_BYTES,
        )
        self._thread = threading.Thread(target=self._server.run, name=f"http-{self._name}", daemon=True)
        self._thread.start()
        structlog.get_logger().info("health.listening", host=self.host, port=self.port)

    def is_alive(self) -> bool:
        """Whether it is serving."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Answer what is being answered, close every socket, end the threads. Safe to repeat."""
        thread, self._thread = self._thread, None
        if thread is None:
            self._socket.close()
            return
        self._server.task_dispatcher.shutdown(timeout=_STOP_SECONDS)
        # The loop closes its sockets itself: closing them under its poll() would leave it asleep until a timeout.
        self._server.trigger.pull_trigger(self._close)
        thread.join(_STOP_SECONDS)

    def _close(self) -> None:
        wasyncore.close_all(self._server._map, ignore_all=True)  # noqa: SLF001 - waitress has no public way to it


def _bind(host: str, port: int, name: str) -> _Listener:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise Misconfigured(f"{name}.host", f"{host} is not an address of this machine", _LOOPBACK) from None
    try:
        return _Listener(fileno=socket.create_server(address[:2], family=family).detach())
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            taken = f"{_shown(host, port)} is in use by another process"
            raise Unavailable(f"{name}.port", taken, "Stop that one, or give one of the two another port") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise Misconfigured(f"{name}.host", f"{host} is not an address of this machine", _LOOPBACK) from None
        problem = f"cannot listen on {_shown(host, port)}: {error.strerror}"
        raise Misconfigured(f"{name}.port", problem, "Take a free port, or 0 to be given one") from error


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

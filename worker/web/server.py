"""An application on a port of its own: uvicorn on uvloop and httptools, in a daemon thread, closed promptly."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import cast

import uvloop
from uvicorn.config import Config
from uvicorn.server import Server

from worker.errors import Misconfigured, Unavailable
from worker.web.app import App
from worker.web.exchange import Endpoint
from worker.web.protocol import Bounds, Gate

_LOOPBACK = "Use 127.0.0.1 or ::1"
_SWEEP_SECONDS = 1
_BACKLOG = 1024
_CLOSING_SECONDS = 1.0


class HttpServer:
    """Binds when made (so that `port` is known and a taken port is told at once), serves from `start` to `stop`.

    `port` 0 takes a free one. `name` is the section of the settings that it belongs to. `endpoints` answer
    without the application. Raises `Misconfigured` for an
    address that this machine or user can't have, `Unavailable` for one that is taken: it may be free again soon.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        bounds: Bounds,
        *,
        name: str,
        endpoints: Sequence[Endpoint] = (),
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._name = name
        self._bounds = bounds
        self._socket = _bind(host, port, name)
        self.host: str = self._socket.getsockname()[0]
        self.port: int = self._socket.getsockname()[1]
        self._thread: threading.Thread | None = None
        self._served = False

        self._server = self._uvicorn()

    def _uvicorn(self) -> Server:
        gate = Gate(self._bounds, self._endpoints)
        return Server(
            Config(
                self._app,
                http=cast("type[asyncio.Protocol]", gate.protocol),  # called as one
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                workers=1,
                backlog=_BACKLOG,
                timeout_keep_alive=round(self._bounds.idle),
                timeout_graceful_shutdown=round(self._bounds.answer),
                timeout_notify=_SWEEP_SECONDS,
                callback_notify=gate.sweep,
            )
        )

    def start(self) -> None:
        """Serve from a thread of its own, in milliseconds."""
        self._served = True
        self._thread = threading.Thread(target=self.serve, name=f"http-{self._name}", daemon=True)
        self._thread.start()

    def serve(self, beside: AbstractAsyncContextManager[object] | None = None) -> None:
        """Serve until `stop`, on this thread and a loop of its own; the signals are left alone (uvicorn takes them over
        on the main thread only). `beside` is entered on that loop before, and left when all is answered."""
        self._served = True
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(beside or nullcontext()))

    async def _serve(self, beside: AbstractAsyncContextManager[object]) -> None:
        async with beside:
            await self._server.serve([self._socket])

    def is_alive(self) -> bool:
        """Whether it is serving."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Answer what has been asked, close every socket, end the thread. Safe to repeat."""
        self._server.should_exit = True
        if not self._served:
            self._socket.close()
        if self._thread is not None:
            self._thread.join(self._bounds.answer + _CLOSING_SECONDS)


def _bind(host: str, port: int, name: str) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise Misconfigured(f"{name}.host", f"{host} is not an address of this machine", _LOOPBACK) from None
    try:
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
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

"""HTTP/1.1 as uvicorn speaks it, within bounds that it doesn't have: on the time that a peer may take, the size of a
request's head, and the number of connections.

uvicorn times a connection between two requests alone, and any byte stops that clock: who never ends a request would
hold a connection for ever (https://github.com/Kludex/uvicorn/issues/157).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from worker.web.exchange import Endpoint, Exchange
from worker.web.one_write import OneWrite
from worker.web.problems import problem_bytes

MAX_HEAD_BYTES = 16 * 1024
"""Of a request's head; and of what stands beside its body in chunks: their lengths, as far as they are more than what
they tell of, and trailers. uvicorn keeps each trailer, at twenty times its size."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """`connections` at most. Seconds: for a request to arrive whole (`receive`), to be answered and the answer taken
    (`answer`), between two requests (`idle`)."""

    connections: int
    receive: float
    answer: float
    idle: float


class Gate:
    """The connections of one server. All of it happens on the server's own thread."""

    def __init__(self, bounds: Bounds, endpoints: Sequence[Endpoint]) -> None:
        """`endpoints` answer without the application."""
        self.bounds = bounds
        self.endpoints = {each.path.encode(): each for each in endpoints}
        self.open: set[BoundedProtocol] = set()
        self.waiting: dict[BoundedProtocol, None] = {}
        """Those whose next request is not there as a whole, the longest wait first."""

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> BoundedProtocol:
        """For a new connection; the arguments are uvicorn's."""
        return BoundedProtocol(self, config, server_state, app_state, _loop)

    async def sweep(self) -> None:
        """Ends the connections that have taken too long."""
        now = asyncio.get_running_loop().time()
        for each in [each for each in self.open if each.deadline < now]:
            each.expire()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Where there are too many, the one that has waited longest makes way: a real request takes no
    time to arrive, so half-open ones keep nobody out."""

    cycle: Any
    """uvicorn's, or an exchange."""

    def __init__(
        self,
        gate: Gate,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._gate = gate
        self._bounds = gate.bounds
        self._beside_body = 0
        self._has_head = self._is_idle = False
        self.deadline = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._one_write = OneWrite(transport)
        self.transport = cast("asyncio.Transport", self._one_write)
        self._gate.open.add(self)
        if len(self._gate.open) > self._bounds.connections:
            longest = next(iter(self._gate.waiting), None)
            if longest is None:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
                return
            longest.leave()
        self._wait(self._bounds.receive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.open.discard(self)
        self._gate.waiting.pop(self, None)
        for cycle in (self.cycle, *(each for each, _ in self.pipeline)):
            if isinstance(cycle, Exchange):
                cycle.lost()
        super().connection_lost(exc)

    def leave(self) -> None:
        """Make way, at once."""
        self._gate.open.discard(self)
        self._gate.waiting.pop(self, None)
        self.transport.abort()

    def expire(self) -> None:
        """It has taken too long. Between two requests it is closed in good order, once."""
        if self._is_idle and not self.transport.is_closing():
            self.transport.close()
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is over {MAX_HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self.deadline = self.loop.time() + self._bounds.receive
        self.transport.write(problem_bytes(status, detail))
        self.transport.close()

    # What the parser meets, in its order

    def on_message_begin(self) -> None:
        self._has_head = self._is_idle = False
        super().on_message_begin()
        self._wait(self._bounds.receive)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:  # a trailer, which nobody reads
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self.transport.is_closing():  # its peer was told that it is heard no further (RFC 9112, 9.6)
            return
        endpoint = self._gate.endpoints.get(self._path())
        if endpoint is None:
            super().on_headers_complete()
        else:
            self._begin(self._exchange(endpoint))
        if self.parser.should_upgrade():  # httptools reads no body behind it: that would be the next request
            self.cycle.keep_alive = False

    def _path(self) -> bytes:
        """Of the request's target, which may be absolute (RFC 9112, 3.2.2)."""
        if self.url.startswith(b"/"):
            return self.url.partition(b"?")[0]
        return httptools.parse_url(self.url).path or b""

    def _begin(self, exchange: Any) -> None:
        before, self.cycle = self.cycle, exchange
        if before is None or before.response_complete:
            exchange.begin()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def _exchange(self, endpoint: Endpoint) -> Any:
        version, method = self.parser.get_http_version(), self.parser.get_method()
        return Exchange(
            endpoint,
            self,
            method,
            dict(reversed(self.headers)),
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            is_asked_for=self.expect_100_continue,
        )

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Of uvicorn's cycles, or an exchange that has waited: its turn has come. Not within the answer of the one
        before it, as thousands may wait, each for another."""
        if isinstance(cycle, Exchange):
            self.loop.call_soon(cycle.begin)
        else:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._beside_body = max(0, self._beside_body - 2 * len(body))
        if isinstance(self.cycle, Exchange):
            self.cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._beside_body = 0
        self._gate.waiting.pop(self, None)
        self.deadline = self.loop.time() + self._bounds.answer
        if isinstance(self.cycle, Exchange):
            self.cycle.complete()
        else:
            super().on_message_complete()

    # What an exchange asks for

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def answered(self, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        if self.transport.is_closing():
            return
        defaults = (b"%b: %b\r\n" % each for each in self.server_state.default_headers)
        end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((head, *defaults, end, body)))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """As uvicorn has it but for its timer: the sweep ends what is idle."""
        self._one_write.flush()
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            if not self.flow.write_paused:
                self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
        if self.cycle.response_complete and not self.cycle.more_body:
            self._is_idle = True
            self._wait(self._bounds.idle)

    def pause_writing(self) -> None:
        """Who doesn't take the answers is read no further: they would pile up here."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.flow.resume_reading()

    def _wait(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds
        self._gate.waiting.pop(self, None)
        self._gate.waiting[self] = None

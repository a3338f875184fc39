"""What is served, as a table: path, method, handler. A plain ASGI application (https://asgi.readthedocs.io)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog

from worker.web.problems import PROBLEM, problem_body

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]


class Answer(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Headers = ()


class Problem(Exception):
    """Ends a handler with an error."""

    def __init__(self, status: HTTPStatus, detail: str = "", code: str = "", headers: Headers = ()) -> None:
        super().__init__(detail or status.phrase)
        self.answer = Answer(status, PROBLEM, problem_body(status, detail, code), headers)


class Gone(Exception):
    """The peer has left before it said all."""


_UNCACHED: Headers = ((b"cache-control", b"no-store"),)
"""What answers a POST is kept by nobody anyway."""

LATER: Headers = ((b"retry-after", b"5"),)

_CLOSE: Headers = ((b"connection", b"close"),)
"""What is not read of a body would be taken for the next request."""


class InHand:
    """How many bytes of bodies are in hand, `limit` at most; one body is taken whatever its size. On one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of one body, as they are told to what it gives, until the block ends. That raises `Problem`
        (503) where there would be too many with those of others."""
        own = 0

        def add(size: int) -> None:
            nonlocal own
            if self._all > own and self._all + size > self._limit:
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too much is in hand", "crowded", (*LATER, *_CLOSE))
            own += size
            self._all += size

        try:
            yield add
        finally:
            self._all -= own


class Request:
    """What a handler may ask of a request."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        self._receive = receive
        self.query: bytes = scope["query_string"]
        self.http_version: str = scope["http_version"]

    def header(self, name: bytes) -> bytes | None:
        """The first of that name (lower case)."""
        return self._headers.get(name)

    async def body(self, limit: int, hold: Callable[[int], None] = lambda _: None) -> bytes:
        """The bytes as they were sent; `hold` is told of each part's size. Raises `Problem` (413) over `limit` bytes,
        before reading where the length is told, and (415) for compressed ones: what they come to is anybody's guess.
        Raises `Gone`."""
        self._require_plain()
        told = self.header(b"content-length")
        if told is not None and int(told) > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            part: bytes = message["body"]
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            hold(len(part))
            if not message["more_body"]:
                return b"".join([*parts, part]) if parts else part
            parts.append(part)

    def _require_plain(self) -> None:
        coding = self.header(b"content-encoding")
        if coding is not None and coding.strip().lower() != b"identity":
            identity = (b"accept-encoding", b"identity")
            detail = "a compressed body is not taken"
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=(identity, *_CLOSE))


def _too_large(limit: int) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {limit} bytes", headers=_CLOSE)


Handler = Callable[[Request], Awaitable[Answer]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Path → method → handler. HEAD is answered as GET, without the body."""


Asgi = Callable[[Any, Receive, Send], Awaitable[None]]


class App:
    """`rest`: the application that serves all other paths."""

    def __init__(self, routes: Routes, rest: Asgi | None = None) -> None:
        self._routes = routes
        self._rest = rest

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if self._rest is not None and path not in self._routes:
            return await self._rest(scope, receive, send)
        try:
            answer = await self._handler(path, method)(Request(scope, receive))
        except Problem as problem:
            answer = problem.answer
        except Gone:
            return None
        except Exception as error:  # noqa: BLE001 - a bug in one request must not look like anything else
            structlog.get_logger().error("request.crashed", path=path, exc_info=error)
            answer = Problem(HTTPStatus.INTERNAL_SERVER_ERROR).answer
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
            *(_UNCACHED if method != "POST" else ()),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return None

    def _handler(self, path: str, method: str) -> Handler:
        methods = self._routes.get(path)
        if methods is None:
            raise Problem(HTTPStatus.NOT_FOUND, headers=_CLOSE)
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join(sorted({*methods, "HEAD"} if "GET" in methods else methods))
            raise Problem(HTTPStatus.METHOD_NOT_ALLOWED, headers=((b"allow", allowed.encode()), *_CLOSE))
        return handler

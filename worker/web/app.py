"""What is served, as a table: path, method, handler. A plain ASGI application (https://asgi.readthedocs.io)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
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

CLOSE: Headers = ((b"connection", b"close"),)
"""What is not read of a body would be taken for the next request."""


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

    async def body(self, limit: int) -> bytes:
        """The bytes as they were sent. Raises `Problem` (413) over `limit` bytes, before reading where the length is
        told, and (415) for compressed ones; raises `Gone`."""
        require_readable(self._headers, limit)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            part: bytes = message["body"]
            size += len(part)
            require_room(size, limit)
            if not message["more_body"]:
                return b"".join([*parts, part]) if parts else part
            parts.append(part)


def require_readable(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Of a request whose body isn't read yet. Raises `Problem`: for one that is told to be over `limit` bytes (413),
    and for a compressed one (415), since what that comes to is anybody's guess."""
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        identity = (b"accept-encoding", b"identity")
        detail = "a compressed body is not taken"
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=(identity, *CLOSE))
    require_room(int(headers.get(b"content-length", 0)), limit)


def require_room(size: int, limit: int) -> None:
    """Raises `Problem` (413) for a body of so many bytes."""
    if size > limit:
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {limit} bytes", headers=CLOSE)


def not_allowed(methods: Iterable[str]) -> Problem:
    """For any method but these."""
    allowed = ", ".join(sorted(methods)).encode()
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, headers=((b"allow", allowed), *CLOSE))


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
            raise Problem(HTTPStatus.NOT_FOUND, headers=CLOSE)
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise not_allowed({*methods, "HEAD"} if "GET" in methods else methods)
        return handler

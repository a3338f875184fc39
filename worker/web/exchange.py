"""A request and its answer without ASGI, in the place of uvicorn's cycle of the two.

What Stripe delivers comes by thousands a second after an outage of hours. A task, a scope and four messages for each
cost more than all that is done with it (docs/benchmarks.md), so an `Endpoint` is called with the whole body, and calls
back with the answer. Everything about the connection stays uvicorn's: pipelining, keeping it, ending it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

import structlog

from worker.web.app import CLOSE, LATER, Answer, Problem, not_allowed, require_readable, require_room
from worker.web.one_write import CONTINUE


class InHand:
    """How many bytes of bodies are in hand, `limit` at most; one body is taken whatever its size. On one thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all = 0

    def add(self, size: int, own: int) -> None:
        """Of a body of which `own` bytes are in hand. Raises `Problem` (503) where there would be too many with those
        of others."""
        if self._all > own and self._all + size > self._limit:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too much is in hand", "crowded", (*LATER, *CLOSE))
        self._all += size

    def remove(self, size: int) -> None:
        self._all -= size


class Endpoint(Protocol):
    """What POSTs to one path come to. Of all bodies that are not answered yet, only so much is kept `in_hand`."""

    path: str
    max_body_bytes: int
    in_hand: InHand

    def take(self, body: bytes, headers: Mapping[bytes, bytes], answer: Callable[[Answer], None]) -> None:
        """Calls `answer` once, on the loop's thread, now or later; or raises `Problem`. Names in `headers` are lower
        case."""

    def unread(self, problem: Problem) -> None:
        """Hears of a body that was not read to its end for what it is."""


class Connection(Protocol):
    def write(self, data: bytes) -> None: ...

    def answered(self, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        """`head`: without the headers that all answers have, and without its end."""


class _Nobody:
    """In the place of the task that uvicorn wakes."""

    def set(self) -> None:
        pass


class Exchange:
    """One request of a connection; attributes without an underscore are those that uvicorn's protocol asks for."""

    message_event = _Nobody()

    def __init__(
        self,
        endpoint: Endpoint,
        connection: Connection,
        method: bytes,
        headers: Mapping[bytes, bytes],
        *,
        keep_alive: bool,
        is_asked_for: bool,
    ) -> None:
        """`is_asked_for`: the peer waits to be told before it sends the body."""
        self.keep_alive = keep_alive
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self._endpoint = endpoint
        self._connection = connection
        self._method = method
        self._headers = headers
        self._is_asked_for = is_asked_for
        self._parts: list[bytes] = []
        self._size = 0
        self._is_its_turn = False
        self._refusal: Answer | None = None
        if method != b"POST":
            self._refusal = not_allowed(["POST"]).answer
            return
        try:
            require_readable(headers, endpoint.max_body_bytes)
        except Problem as problem:
            self._refuse(problem)

    def begin(self) -> None:
        """Those before it on this connection are answered."""
        self._is_its_turn = True
        if self._is_asked_for and self.more_body and self._refusal is None:
            self._connection.write(CONTINUE)
        self._go_on()

    def add(self, part: bytes) -> None:
        """A part of the body."""
        if self._refusal is not None or self.response_complete:
            return
        try:
            require_room(self._size + len(part), self._endpoint.max_body_bytes)
            self._endpoint.in_hand.add(len(part), self._size)
        except Problem as problem:
            self._refuse(problem)
            self._go_on()
            return
        self._size += len(part)
        self._parts.append(part)

    def complete(self) -> None:
        """The body has come to its end."""
        self.more_body = False
        self._go_on()

    def lost(self) -> None:
        """The peer is gone."""
        self.disconnected = True
        self._let_go()

    def _go_on(self) -> None:
        if not self._is_its_turn or self.response_complete:
            return
        if self._refusal is not None:
            self._answer(self._refusal)
        elif not self.more_body:
            self._take(b"".join(self._parts))

    def _take(self, body: bytes) -> None:
        try:
            self._endpoint.take(body, self._headers, self._answer)
        except Problem as problem:
            self._answer(problem.answer)
        except Exception as error:  # noqa: BLE001 - a bug in one request must not look like anything else
            structlog.get_logger().error("request.crashed", path=self._endpoint.path, exc_info=error)
            self._answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR).answer)

    def _answer(self, answer: Answer) -> None:
        self._let_go()
        if self.disconnected or self.response_complete:
            return
        self.response_complete = True
        self.keep_alive = self.keep_alive and CLOSE[0] not in answer.headers
        body = b"" if self._method == b"HEAD" else answer.body
        self._connection.answered(_head(answer), body, keep_alive=self.keep_alive)

    def _refuse(self, problem: Problem) -> None:
        self._endpoint.unread(problem)
        self._refusal = problem.answer
        self._let_go()

    def _let_go(self) -> None:
        self._endpoint.in_hand.remove(self._size)
        self._size = 0
        self._parts.clear()


@lru_cache(maxsize=64)
def _head(answer: Answer) -> bytes:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", b"%d" % len(answer.body)),
        *(each for each in answer.headers if each != CLOSE[0]),
    ]
    status = b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.status.phrase.encode())
    return status + b"".join(b"%b: %b\r\n" % each for each in headers)

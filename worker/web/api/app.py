"""The API as an ASGI application: Starlette finds the operation; who asks, what for, and whether they may is decided in
one place for all of them, on a thread of the API's own.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Protocol

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from worker.domain.callers import Caller, MustWait
from worker.errors import SubkeeperError
from worker.web.api.answering import Told, answered, permitted, refusal_told
from worker.web.api.anything import ANYTHING, register_anything
from worker.web.api.operations import WAIT_SECONDS, Begun, Operation, Refused, Reply
from worker.web.app import Gone, Problem
from worker.web.app import Request as Bounded


class FindCaller(Protocol):
    def __call__(self, authorization: str | None, *, may_wait: bool = True) -> Caller | None:
        """Who sends this `Authorization`; None for nobody. Raises `TokenRefused`, `SubkeeperError` where that can't be
        told now, and `MustWait` where it `may_wait` not and would have to."""


_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PRIVATE = {"cache-control": "private, no-cache", "vary": "authorization"}
"""Kept by the caller alone, and asked for again each time: an ETag makes that cheap."""

MAX_BODY = 16 * 1024
"""Bytes: a request holds a handful of fields."""

LOOK_SECONDS = 0.5
"""So often it is looked whether what is being done has ended: another process may be at it."""


class Api:
    """`executor` runs what may wait for Postgres, `stripe_executor` what may wait for Stripe as well. `clock`:
    monotonic, in seconds."""

    def __init__(
        self,
        operations: Sequence[Operation],
        find_caller: FindCaller,
        executor: Executor,
        stripe_executor: Executor | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._find_caller = find_caller
        self._executor = executor
        self._stripe_executor = stripe_executor or executor
        self._clock = clock
        self._log = structlog.get_logger(__name__).bind()  # not anew for each line
        self.operations = tuple(operations)
        register_anything()
        self.router = Router([self._route(each) for each in operations], redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        given = request.headers.get("x-request-id", "")
        scope["request_id"] = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope["app"] = self  # so that the router raises where nothing matches
        began = self._clock()
        try:
            await self.router(scope, receive, send)
        except HTTPException as missed:
            headers = {**(missed.headers or {}), **self._allowed(scope, missed.status_code)}
            refused = Refused(HTTPStatus(missed.status_code), "", "", headers=tuple(headers.items()))
            await self._respond(request, Told(refused.reply), "", began)(scope, receive, send)

    def _allowed(self, scope: Scope, status: int) -> dict[str, str]:
        """The methods of a path that has others than the request's. Starlette tells those of its first route."""
        if status != HTTPStatus.METHOD_NOT_ALLOWED:
            return {}
        routes = [each for each in self.router.routes if isinstance(each, Route)]
        found = {method for each in routes if each.matches(scope)[0] is not Match.NONE for method in each.methods or ()}
        return {"Allow": ", ".join(sorted(found))}

    def _route(self, operation: Operation) -> Route:
        async def answer(request: Request) -> Response:
            began = self._clock()
            try:
                body = b"" if operation.body is None else await Bounded(request.scope, request.receive).body(MAX_BODY)
            except Problem as problem:
                return self._respond(request, Told(_as_reply(problem), None, "body"), operation.name, began)
            except Gone:
                return Response(b"")
            if operation.answer_soon is not None:
                return self._respond(request, await self._told_soon(operation, request), operation.name, began)
            loop = asyncio.get_running_loop()
            executor = self._stripe_executor if operation.asks_stripe else self._executor
            told = await loop.run_in_executor(executor, self._told, operation, request, body)
            if isinstance(told.reply, Begun):
                told = await self._ended(operation, told.caller, told.reply)
            return self._respond(request, told, operation.name, began)

        path = operation.path.replace("}", f":{ANYTHING}}}")
        return Route(path, _Endpoint(answer), methods=[operation.method], name=operation.name)

    async def _ended(self, operation: Operation, caller: Caller | None, begun: Begun) -> Told:
        try:
            return Told(await self._awaited(begun), caller)
        except SubkeeperError as error:
            return refusal_told(operation, caller, error)

    async def _awaited(self, begun: Begun) -> Reply:
        """The reply of what goes on elsewhere; no thread is spent on waiting for it. Raises `SubkeeperError` where it
        can't be told whether it still does: Postgres may have crashed as it was taken in."""
        loop, ended = asyncio.get_running_loop(), asyncio.wrap_future(begun.ended)
        until = loop.time() + WAIT_SECONDS
        while True:
            was_done = ended.done()
            await asyncio.wait([ended], timeout=LOOK_SECONDS)
            if was_done:
                await asyncio.sleep(LOOK_SECONDS)
            is_last = loop.time() > until
            try:
                if ended.done() and not begun.waits:
                    reply = begun.reply()
                else:
                    reply = await loop.run_in_executor(self._executor, begun.reply)
            except SubkeeperError:
                if is_last:
                    raise
                continue  # Postgres: it is looked for again
            if reply is not None:
                return reply
            if is_last:
                return begun.later

    def _told(self, operation: Operation, request: Request, body: bytes) -> Told:
        caller = None
        try:
            caller = self._find_caller(request.headers.get("authorization"))
            return Told(answered(operation, request, caller, body), caller)
        except Exception as error:  # noqa: BLE001 - it is told
            return refusal_told(operation, caller, error)

    async def _told_soon(self, operation: Operation, request: Request) -> Told:
        """The same on the event loop, for what needs no thread."""
        caller, authorization = None, request.headers.get("authorization")
        try:
            try:
                caller = self._find_caller(authorization, may_wait=False)
            except MustWait:
                loop = asyncio.get_running_loop()
                caller = await loop.run_in_executor(self._executor, self._find_caller, authorization)
            users, given, _ = permitted(operation, request, caller, b"")
            assert operation.answer_soon is not None, "that is why it is here"
            return Told(await operation.answer_soon(users, given), caller)
        except Exception as error:  # noqa: BLE001 - it is told
            return refusal_told(operation, caller, error)

    def _respond(self, request: Request, told: Told, operation: str, began: float) -> Response:
        reply, request_id = told.reply, request.scope["request_id"]
        assert isinstance(reply, Reply), "waited for"
        is_read = request.method in {"GET", "HEAD"}
        is_known = is_read and bool(reply.etag) and _is_known(reply.etag, request.headers.get("if-none-match", ""))
        status = HTTPStatus.NOT_MODIFIED if is_known else reply.status
        self._log.info(
            "request.answered",
            request_id=request_id,
            operation=operation or None,
            method=request.method if operation else None,
            status=status.value,
            caller=told.caller.name if told.caller else None,
            reason=told.reason,
            seconds=round(self._clock() - began, 6),
        )
        etag = {"etag": f'"{reply.etag}"'} if reply.etag else {}
        headers = {**_PRIVATE, **etag, **dict(reply.headers), "x-request-id": request_id}
        if is_known:
            return Response(b"", status.value, headers)
        return Response(reply.body, status.value, headers, reply.content_type)


class _Endpoint:
    """One operation as an ASGI application. Starlette wraps a function in two more, for exceptions that none raises."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


def _as_reply(problem: Problem) -> Reply:
    answer = problem.answer
    headers = tuple((name.decode(), value.decode()) for name, value in answer.headers)
    return Reply(answer.status, answer.body, answer.content_type, headers=headers)


def _is_known(etag: str, if_none_match: str) -> bool:
    known = {each.strip().removeprefix("W/").strip('"') for each in if_none_match.split(",")}
    return etag in known or "*" in known

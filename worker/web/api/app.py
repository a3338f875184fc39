"""The API as an ASGI application: Starlette finds the operation; who asks, what for, and whether they may is decided in
one place for all of them, on a thread of the API's own.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from worker.domain.accounts import ApiError
from worker.domain.callers import Caller, TokenRefused, may_call
from worker.domain.strict_json import parse_object
from worker.errors import Rejected, SubkeeperError
from worker.web.api.anything import ANYTHING, register_anything
from worker.web.api.operations import WAIT_SECONDS, Act, Begun, Operation, Refused, Reply, refuse
from worker.web.api.subscriptions import is_user_id
from worker.web.app import Gone, Problem
from worker.web.app import Request as Bounded

FindCaller = Callable[[str | None], Caller | None]
"""Who sends this `Authorization`; None for nobody. Raises `TokenRefused`, and `SubkeeperError` where that can't be
told now."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PRIVATE = {"cache-control": "private, no-cache", "vary": "authorization"}
"""Kept by the caller alone, and asked for again each time: an ETag makes that cheap."""

MAX_BODY = 16 * 1024
"""Bytes: a request holds a handful of fields."""

JSON = ("application/json", "application/merge-patch+json")

LOOK_SECONDS = 0.5
"""So often it is looked whether what is being done has ended: another process may be at it."""

_LATER = (("retry-after", "1"),)


class Told(NamedTuple):
    """What came of a request, for its log line."""

    reply: Reply | Begun
    caller: Caller | None = None
    reason: str | None = None


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
        self._log = structlog.get_logger(__name__)
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
        async def endpoint(request: Request) -> Response:
            began = self._clock()
            try:
                body = b"" if operation.body is None else await Bounded(request.scope, request.receive).body(MAX_BODY)
            except Problem as problem:
                return self._respond(request, Told(_as_reply(problem), None, "body"), operation.name, began)
            except Gone:
                return Response(b"")
            loop = asyncio.get_running_loop()
            executor = self._stripe_executor if operation.asks_stripe else self._executor
            told = await loop.run_in_executor(executor, self._told, operation, request, body)
            if isinstance(told.reply, Begun):
                told = told._replace(reply=await self._awaited(told.reply))
            return self._respond(request, told, operation.name, began)

        path = operation.path.replace("}", f":{ANYTHING}}}")
        return Route(path, endpoint, methods=[operation.method], name=operation.name)

    async def _awaited(self, begun: Begun) -> Reply:
        """The reply of what goes on elsewhere; no thread is spent on waiting for it."""
        loop, ended = asyncio.get_running_loop(), asyncio.wrap_future(begun.ended)
        until = loop.time() + WAIT_SECONDS
        await asyncio.wait([ended], timeout=LOOK_SECONDS)
        while True:
            with suppress(SubkeeperError):  # Postgres: it is looked for again
                reply = await loop.run_in_executor(self._executor, begun.tell)
                if reply is not None:
                    return reply
            if loop.time() > until:
                return begun.later
            was_done = ended.done()
            await asyncio.wait([ended], timeout=LOOK_SECONDS)
            if was_done:
                await asyncio.sleep(LOOK_SECONDS)

    def _told(self, operation: Operation, request: Request, body: bytes) -> Told:
        caller = None
        try:
            caller = self._find_caller(request.headers.get("authorization"))
            return Told(_answered(operation, request, caller, body), caller)
        except TokenRefused as refused:
            return Told(_challenge("invalid_token").reply, None, refused.reason)
        except Refused as refused:
            return Told(refused.reply, caller, refused.code)
        except SubkeeperError as away:
            detail = "this can't be told now; /readyz says why"
            later = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers=_LATER)
            return Told(later.reply, caller, type(away).__name__)
        except Exception as error:  # noqa: BLE001 - a bug in one request must not look like anything else
            structlog.get_logger().error("request.crashed", path=operation.path, exc_info=error)
            return Told(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "crashed", "").reply, caller, "crashed")

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


def _answered(operation: Operation, request: Request, caller: Caller | None, body: bytes) -> Reply | Begun:
    if caller is None and operation.access.scopes:
        raise _challenge("")
    query: dict[str, list[str]] = defaultdict(list)
    for name, value in request.query_params.multi_items():
        query[name].append(value)
    operation.check(query)
    given = {**query, **{name: [value] for name, value in request.path_params.items()}}
    document = None
    if operation.names_user:
        document = _document(operation, request, body)
        given["user_id"] = [_user_of(document)]
    users = operation.users(given)
    if not may_call(operation.access, caller, users):
        least = operation.access.scopes[0].id
        said = f'Bearer error="insufficient_scope", scope="{least}"'
        detail = f"another's needs the scope {' or '.join(scope.id for scope in operation.access.scopes)}"
        raise Refused(HTTPStatus.FORBIDDEN, "not_yours", detail, headers=(("www-authenticate", said),))
    if operation.answer is not None:
        return operation.answer(users, given)
    assert caller is not None, "nothing else is public"
    if operation.answer_for is not None:
        return operation.answer_for(caller, users, given)
    assert operation.act is not None, "it does one of the three"
    if document is None:
        document = _document(operation, request, body)
    return operation.act(Act(caller, users, request.headers, document, given))


def _user_of(document: Mapping[str, object]) -> str:
    user_id = document.get("user_id")
    if not isinstance(user_id, str) or not is_user_id(user_id):
        refuse([ApiError("/body/user_id", "not_an_id", "is missing, or is no id that a profile can have")])
    return str(user_id)


def _document(operation: Operation, request: Request, body: bytes) -> Mapping[str, object]:
    if operation.body is None:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in JSON:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_json", f"send {' or '.join(JSON)}")
    try:
        return parse_object(body)
    except Rejected as refusal:
        refuse([ApiError("/body", refusal.reason, "is no JSON object that can be taken")])
        raise


def _as_reply(problem: Problem) -> Reply:
    answer = problem.answer
    headers = tuple((name.decode(), value.decode()) for name, value in answer.headers)
    return Reply(answer.status, answer.body, answer.content_type, headers=headers)


def _challenge(error: str) -> Refused:
    """What is wrong with a token is for our log: it would help who forges one (RFC 6750)."""
    said = f'Bearer error="{error}"' if error else "Bearer"
    detail = "the token is not one that is taken here" if error else "send a token: Authorization: Bearer …"
    code = error or "no_token"
    return Refused(HTTPStatus.UNAUTHORIZED, code, detail, headers=(("www-authenticate", said),))


def _is_known(etag: str, if_none_match: str) -> bool:
    known = {each.strip().removeprefix("W/").strip('"') for each in if_none_match.split(",")}
    return etag in known or "*" in known

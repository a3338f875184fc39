"""What an operation of the API is, and what it is asked and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

from pydantic import BaseModel

from worker.domain.accounts import ApiError
from worker.domain.callers import Access, Caller
from worker.store.told_changes import ToldChange
from worker.web.problems import PROBLEM, problem_body

WAIT_SECONDS = 10.0
"""For how long what is being done is waited for: most of it takes less than one."""

Parameters = Mapping[str, Sequence[str]]
"""Each with its values, in their order: as an address may repeat them."""


class Reply(NamedTuple):
    """`etag` without its quotes."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    etag: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Begun(NamedTuple):
    """What is being done; `ended` tells of it if it ends in this process. `reply_of` that gives the reply, and `look`
    finds it on a thread that may wait, if there is one yet; `waits`: both do. `later`: what is replied where it takes
    too long."""

    ended: Future[ToldChange]
    reply_of: Callable[[ToldChange], Reply | None]
    look: Callable[[], Reply | None]
    later: Reply
    waits: bool = False

    def reply(self) -> Reply | None:
        return self.reply_of(self.ended.result()) if self.ended.done() else self.look()


class Act(NamedTuple):
    """A request to do something. `headers`: by their names in lower case; `document`: the JSON object of its body;
    `given`: the parameters of its path and query."""

    caller: Caller
    users: tuple[str, ...]
    headers: Mapping[str, str]
    document: Mapping[str, object]
    given: Parameters


class Refused(Exception):
    """Ends an operation with a problem."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        errors: Sequence[ApiError] = (),
        headers: tuple[tuple[str, str], ...] = (),
        applied: Sequence[str] = (),
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.reply = Reply(status, problem_body(status, detail, code, errors, applied), PROBLEM, headers=headers)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path or the query. `schema` is its JSON schema."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]
    is_required: bool = False
    """Of the path's all are."""


@dataclass(frozen=True, slots=True)
class Operation:
    """`users` says of whom a request is, for `access` to judge; `answer` then tells, or `act` does what is asked for.
    All of them raise `Refused`."""

    method: str
    path: str
    name: str
    summary: str
    access: Access
    parameters: tuple[Parameter, ...]
    users: Callable[[Parameters], tuple[str, ...]]
    answer: Callable[[tuple[str, ...], Parameters], Reply] | None
    answers: type[BaseModel] | None = None
    has_etag: bool = False
    may_miss: bool = False
    """Whether there may be nothing to tell of (404)."""
    act: Callable[[Act], Reply | Begun] | None = None
    body: Mapping[str, Any] | None = None
    """The JSON schema of a request's body; None: there is none to read."""
    success: HTTPStatus = HTTPStatus.OK
    later: type[BaseModel] | None = None
    """What is told where it takes too long (202)."""
    answer_for: Callable[[Caller, tuple[str, ...], Parameters], Reply] | None = None
    """In place of `answer`, where more is told to some."""
    answer_soon: Callable[[tuple[str, ...], Parameters], Awaitable[Reply]] | None = None
    """In place of `answer`, on the event loop, which must not wait."""
    names_user: bool = False
    """Whether the body says of whom it is (`user_id`)."""
    problems: Mapping[HTTPStatus, str] = field(default_factory=dict)
    """What else may keep it from being done."""
    asks_stripe: bool = False
    """Whether it may wait for Stripe: on threads of its own, so that what needs Postgres alone goes on."""

    def check(self, query: Parameters) -> None:
        """Raises `Refused` where a parameter of the query isn't known, or is given more often than it may be."""
        known = {each.name: each.schema for each in self.parameters if each.place == "query"}
        errors = [
            ApiError(pointer("query", name), "unknown", "there is no such parameter")
            for name in query
            if name not in known
        ]
        errors += [
            ApiError(pointer("query", name), "repeated", "may be given once")
            for name, schema in known.items()
            if schema["type"] != "array" and len(query.get(name, ())) > 1
        ]
        refuse(errors)


def refuse(errors: Sequence[ApiError]) -> None:
    """Raises `Refused` if there are any."""
    if errors:
        raise Refused(HTTPStatus.BAD_REQUEST, "parameters_wrong", "see errors", sorted(errors))


def not_yours(access: Access) -> Refused:
    """Whether there is anything is not told."""
    said = f'Bearer error="insufficient_scope", scope="{access.scopes[0].id}"'
    detail = f"another's needs the scope {' or '.join(scope.id for scope in access.scopes)}"
    return Refused(HTTPStatus.FORBIDDEN, "not_yours", detail, headers=(("www-authenticate", said),))


def pointer(*parts: str | int) -> str:
    """A JSON pointer into `{"path": {…}, "query": {…}, "header": {…}, "body": {…}}`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def nobody(_given: Parameters) -> tuple[str, ...]:
    """Of whom a request is that tells of no user."""
    return ()

"""One request's way to its answer: who asks, of whom, whether they may; and what is told where it can't be answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import structlog
from starlette.requests import Request

from worker.domain.accounts import ApiError
from worker.domain.callers import Caller, TokenRefused, may_call
from worker.domain.profile import is_user_id
from worker.domain.strict_json import parse_object
from worker.errors import Rejected, SubkeeperError
from worker.web.api.operations import Act, Begun, Operation, Parameters, Refused, Reply, not_yours, refuse

JSON = ("application/json", "application/merge-patch+json")

_LATER = (("retry-after", "1"),)


class Told(NamedTuple):
    """What came of a request, for its log line."""

    reply: Reply | Begun
    caller: Caller | None = None
    reason: str | None = None


def refusal_told(operation: Operation, caller: Caller | None, error: Exception) -> Told:
    """A bug in one request must not look like anything else."""
    if isinstance(error, TokenRefused):
        return Told(_challenge("invalid_token").reply, None, error.reason)
    if isinstance(error, Refused):
        return Told(error.reply, caller, error.code)
    if isinstance(error, SubkeeperError):
        detail = "this can't be told now; /readyz says why"
        later = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers=_LATER)
        return Told(later.reply, caller, type(error).__name__)
    structlog.get_logger().error("request.crashed", path=operation.path, exc_info=error)
    return Told(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "crashed", "").reply, caller, "crashed")


def permitted(
    operation: Operation, request: Request, caller: Caller | None, body: bytes
) -> tuple[tuple[str, ...], Parameters, Mapping[str, object] | None]:
    """Of whom the request is, its parameters, and its document where that says so. Raises `Refused` where it is not
    this caller's to make."""
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
        raise not_yours(operation.access)
    return users, given, document


def answered(operation: Operation, request: Request, caller: Caller | None, body: bytes) -> Reply | Begun:
    users, given, document = permitted(operation, request, caller, body)
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


def _challenge(error: str) -> Refused:
    """What is wrong with a token is for our log: it would help who forges one (RFC 6750)."""
    said = f'Bearer error="{error}"' if error else "Bearer"
    detail = "the token is not one that is taken here" if error else "send a token: Authorization: Bearer …"
    code = error or "no_token"
    return Refused(HTTPStatus.UNAUTHORIZED, code, detail, headers=(("www-authenticate", said),))

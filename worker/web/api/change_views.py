"""A change that was asked for, as it is told: the reply to who asked, and what is told of it later."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from worker.domain.account_changes import Kind, etag_of
from worker.domain.accounts import ApiError
from worker.store.told_changes import ToldChange
from worker.web.api.openapi import ErrorView, ProblemView
from worker.web.api.operations import Refused, Reply
from worker.web.api.subscriptions import SubscriptionView, view_of

STATUSES: Mapping[str, HTTPStatus] = {
    "no_payment_method": HTTPStatus.NOT_FOUND,
    "parameters_wrong": HTTPStatus.BAD_REQUEST,
    "no_subscription": HTTPStatus.NOT_FOUND,
    "not_payer": HTTPStatus.FORBIDDEN,
    "card_declined": HTTPStatus.PAYMENT_REQUIRED,
    "changed_meanwhile": HTTPStatus.PRECONDITION_FAILED,
    "key_reused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_many_waiting": HTTPStatus.TOO_MANY_REQUESTS,
    "details_refused": HTTPStatus.BAD_REQUEST,
    "plan_unusable": HTTPStatus.SERVICE_UNAVAILABLE,
    "not_permitted": HTTPStatus.SERVICE_UNAVAILABLE,
    "portal_not_set_up": HTTPStatus.SERVICE_UNAVAILABLE,
    "key_lost": HTTPStatus.SERVICE_UNAVAILABLE,
    "took_too_long": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Of what `ChangeRefused` names; anything else is a conflict with what is there."""


class ChangeView(BaseModel):
    """A change that was asked for."""

    id: uuid.UUID
    user_id: str
    kind: Annotated[str, Field(description="create, update, delete, detachment (of a card), details (of bills), …")]
    state: Annotated[str, Field(description="pending, applied or failed")]
    applied: Annotated[list[str], Field(description="What was asked for and holds")] = []
    ended_at: datetime | None = None
    subscription: Annotated[SubscriptionView | None, Field(description="As it was when an applied change ended")] = None
    problem: Annotated[ProblemView | None, Field(description="Why it failed")] = None


def reply_of(told: ToldChange, pending_plan: str) -> Reply | None:
    """The same whenever it is asked for. None: it hasn't ended."""
    if told.result is None:
        return None
    if (error := told.result.get("error")) is not None:
        return as_refused(*refusal_of(error), told.result["applied"]).reply
    if told.kind in {Kind.DELETE, Kind.DETACHMENT, Kind.DETAILS}:
        return Reply(HTTPStatus.NO_CONTENT, b"")
    if (row := told.result["subscription"]) is None:
        return as_refused("no_subscription", "the subscription was removed").reply
    view = view_of(row, pending_plan)
    etag, body = etag_of(view.stripe_subscription, view.version), view.model_dump_json().encode()
    if told.kind == Kind.UPDATE:
        return Reply(HTTPStatus.OK, body, etag=etag)
    where = f"/subscriptions/{quote(told.user_id, safe='')}"
    return Reply(HTTPStatus.CREATED, body, etag=etag, headers=(("location", where),))


def reply_for_now(change_id: uuid.UUID, user_id: str, kind: Kind) -> Reply:
    """Where it is told of once it has ended."""
    view = ChangeView(id=change_id, user_id=user_id, kind=kind.value, state="pending")
    where = (("location", f"/account-changes/{change_id}"), ("retry-after", "1"))
    return Reply(HTTPStatus.ACCEPTED, view.model_dump_json().encode(), headers=where)


def as_refused(code: str, detail: str, errors: Collection[ApiError] = (), applied: Sequence[str] = ()) -> Refused:
    """What `ChangeRefused` says. Its pointers are into the body."""
    status = STATUSES.get(code, HTTPStatus.CONFLICT)
    headers = (("retry-after", "1"),) if status is HTTPStatus.TOO_MANY_REQUESTS else ()
    return Refused(status, code, detail, sorted(_in_body(each) for each in errors), headers, applied)


def change_view(told: ToldChange, pending_plan: str) -> ChangeView:
    result = told.result or {}
    error, row = result.get("error"), result.get("subscription")
    return ChangeView(
        id=told.id,
        user_id=told.user_id,
        kind=told.kind,
        state=told.state,
        applied=result.get("applied", []),
        ended_at=told.ended_at,
        subscription=None if row is None else view_of(row, pending_plan),
        problem=None if error is None else problem_of(*refusal_of(error), result["applied"]),
    )


def refusal_of(error: Mapping[str, Any]) -> tuple[str, str, list[ApiError]]:
    """Code, detail and errors of what a change has failed with, as its row has it."""
    return error["code"], error["detail"], [ApiError(**each) for each in error["errors"]]


def problem_of(code: str, detail: str, errors: Sequence[ApiError], applied: Sequence[str] = ()) -> ProblemView:
    """What `ChangeRefused` says, as `as_refused` tells it."""
    status = STATUSES.get(code, HTTPStatus.CONFLICT)
    told = [ErrorView(**_in_body(each)._asdict()) for each in errors]
    return ProblemView(
        type="about:blank", title=status.phrase, status=status.value, detail=detail, code=code, errors=told,
        applied=list(applied),
    )  # fmt: skip


def _in_body(error: ApiError) -> ApiError:
    return error._replace(pointer=f"/body{error.pointer}")

"""Erasing users: asked for like any change, and told of by how it stands with the user."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from pydantic import BaseModel, Field

from worker.domain.account_changes import Kind, Wish
from worker.domain.callers import Access
from worker.domain.erasure import STRIPE_KEEPS, Erasure, ErasureState
from worker.web.api.changes import KEY_HEADER, PROBLEMS, Desk, read_key
from worker.web.api.operations import Act, Begun, Operation, Parameters, Refused, Reply
from worker.web.api.subscriptions import USER, one_user


class ErasureView(BaseModel):
    """How it stands with the erasure of a user."""

    user_id: str
    state: Annotated[str, Field(description="erasing or erased")]
    asked_at: datetime | None = None
    erased_at: datetime | None = None
    waits_for: Annotated[str | None, Field(description="Why it takes long, as a constant")] = None
    stripe_keeps: Annotated[Sequence[str], Field(description="What it doesn't reach")] = STRIPE_KEEPS


class Erasures:
    """`find` tells how it stands with a user; None: nobody has asked for it."""

    def __init__(self, desk: Desk, find: Callable[[str], Erasure | None]) -> None:
        self._desk = desk
        self._find = find

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "POST", "/customers/{user_id}/erase", "erase_user", "Erase a user, at Stripe and here, for good",
                Access.ADMIN, (USER, KEY_HEADER), one_user, None, ErasureView, act=self._erase, later=ErasureView,
                problems=PROBLEMS,
            ),
            Operation(
                "GET", "/customers/{user_id}/erasure", "read_erasure", "How it stands with the erasure of a user",
                Access.ADMIN, (USER,), one_user, self._one, ErasureView, may_miss=True,
            ),
        )  # fmt: skip

    def _erase(self, act: Act) -> Reply | Begun:
        (user_id,) = act.users
        wish = Wish(uuid.uuid4(), Kind.ERASE, user_id, act.caller.name, idempotency_key=read_key(act))
        return self._desk.asked(wish, lambda _: self._erased(user_id), lambda _: _under_way(user_id), waits=True)

    def _erased(self, user_id: str) -> Reply | None:
        found = self._find(user_id)
        return _reply(found) if found is not None and found.state is ErasureState.ERASED else None

    def _one(self, users: tuple[str, ...], _given: Parameters) -> Reply:
        found = self._find(users[0])
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no_erasure", "nobody has asked for this user to be erased")
        return _reply(found)


def _reply(found: Erasure) -> Reply:
    return Reply(HTTPStatus.OK, _view(found).model_dump_json().encode())


def _view(found: Erasure) -> ErasureView:
    return ErasureView(**{**found._asdict(), "state": found.state.value})


def _under_way(user_id: str) -> Reply:
    """It is told of where it stands: it may take as long as what it waits for."""
    view = ErasureView(user_id=user_id, state=ErasureState.ERASING.value)
    where = (("location", f"/customers/{quote(user_id, safe='')}/erasure"), ("retry-after", "1"))
    return Reply(HTTPStatus.ACCEPTED, view.model_dump_json().encode(), headers=where)

"""Lists of subscriptions: those that many users have, all that there are, and a project's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Protocol

from pydantic import BaseModel, Field

from worker.domain.account_changes import told_of
from worker.domain.accounts import ApiError
from worker.domain.callers import Access, Caller, is_for_all
from worker.domain.profile import is_user_id
from worker.domain.statuses import MEANINGS
from worker.domain.subscription import Subscription
from worker.domain.text import is_storable
from worker.store.subscription_list import NEWEST, Chosen, Listed
from worker.web.api.operations import Operation, Parameter, Parameters, Reply, nobody, not_yours, pointer, refuse
from worker.web.api.paging import NEXT_CURSOR, PAGING, Page, numbered
from worker.web.api.subscriptions import (
    ACTIVE,
    MOST_USERS,
    USER_ID,
    SubscriptionView,
    is_true,
    many_users,
    view_of,
)

MAX_PLAN = 255
"""Characters: of a plan's name, or of a price's id at Stripe."""

Read = Callable[[Sequence[str]], Sequence[Subscription]]
"""The current subscriptions of these users, by user. Raises `SubkeeperError`."""

_STATUS = {"type": "array", "items": {"type": "string", "enum": list(MEANINGS)}, "uniqueItems": True}
_PLAN = {"type": "string", "minLength": 1, "maxLength": MAX_PLAN, "pattern": "^[^\\u0000]*$"}
_CHOOSING = (
    ACTIVE,
    Parameter("status", "query", "Only those in this status, or in one of these, the name repeated", _STATUS),
    Parameter("plan", "query", "Only those on this plan, by our name of it", _PLAN),
)
SUBSCRIPTIONS = numbered("subscriptions", NEWEST)


class SubscriptionList(BaseModel):
    """Of users that are named, by user, without those who have none; else the newest here first."""

    subscriptions: list[SubscriptionView]
    next_cursor: Annotated[str | None, Field(description=NEXT_CURSOR)]


class Desk(Protocol):
    """Where they are kept. Both give so many at most, older than the number `before`, and raise `SubkeeperError`."""

    def page(self, chosen: Chosen, before: int, limit: int) -> Sequence[Listed]: ...

    def of_project(
        self, project_id: str, payer: str | None, chosen: Chosen, before: int, limit: int
    ) -> Sequence[Listed] | None:
        """On those of its customers that this user is a payer of (None: on any); None: on none of them."""


class SubscriptionLists:
    """`pending_plan`: the one that every profile begins with."""

    def __init__(self, read: Read, desk: Desk, pending_plan: str) -> None:
        self._read = read
        self._desk = desk
        self._pending_plan = pending_plan

    @property
    def operations(self) -> tuple[Operation, ...]:
        told = f"Profiles' ids, the name repeated; {MOST_USERS} at most. Without any, all subscriptions are listed"
        users = Parameter("user_id", "query", told, {"type": "array", "items": USER_ID, "maxItems": MOST_USERS})
        project = Parameter("project_id", "path", "The project's id", USER_ID)
        return (
            Operation(
                "GET", "/subscriptions", "list_subscriptions", "The current subscriptions of many users, or all",
                Access.OWN, (users, *_CHOOSING, *PAGING), _users, self._many, SubscriptionList,
            ),
            Operation(
                "GET", "/projects/{project_id}/subscriptions", "list_project_subscriptions",
                "All subscriptions of a project", Access.PAYER, (project, *_CHOOSING, *PAGING), nobody, None,
                SubscriptionList, answer_for=self._of_project,
            ),
        )  # fmt: skip

    def _many(self, user_ids: tuple[str, ...], given: Parameters) -> Reply:
        chosen = _chosen(given)
        if not user_ids:
            page = SUBSCRIPTIONS.page(given)
            return self._paged(self._desk.page(chosen, page.after, page.fetched), page)
        refuse([ApiError(pointer("query", each.name), "not_of_users", _WHOLE) for each in PAGING if each.name in given])
        return self._replied([row for row in self._read(user_ids) if chosen.takes(row)], None)

    def _of_project(self, caller: Caller, _users: tuple[str, ...], given: Parameters) -> Reply:
        project_id, chosen, page = given["project_id"][0], _chosen(given), SUBSCRIPTIONS.page(given)
        if not is_user_id(project_id):
            refuse([ApiError(pointer("path", "project_id"), "not_an_id", "is empty, too long, or holds a NUL")])
        payer = None if is_for_all(Access.PAYER, caller) else caller.user_id
        found = self._desk.of_project(project_id, payer, chosen, page.after, page.fetched)
        if found is None:
            raise not_yours(Access.PAYER)
        return self._paged(found, page)

    def _paged(self, found: Sequence[Listed], page: Page[int]) -> Reply:
        listed, cursor = SUBSCRIPTIONS.cut(found, page, lambda each: each.number)
        return self._replied([each.row for each in listed], cursor)

    def _replied(self, rows: Sequence[Subscription], cursor: str | None) -> Reply:
        views = [view_of(told_of(row), self._pending_plan) for row in rows]
        told = SubscriptionList(subscriptions=views, next_cursor=cursor)
        return Reply(HTTPStatus.OK, told.model_dump_json().encode())


_WHOLE = "is for lists: the subscriptions of users are told all at once"


def _users(given: Parameters) -> tuple[str, ...]:
    return many_users(given) if "user_id" in given else ()


def _chosen(given: Parameters) -> Chosen:
    """Raises `Refused`."""
    statuses, plan = given.get("status"), given.get("plan", (None,))[0]
    errors = [
        ApiError(pointer("query", "status", number), "unknown", f"is none of {', '.join(MEANINGS)}")
        for number, status in enumerate(statuses or ())
        if status not in MEANINGS
    ]
    if plan is not None and not (0 < len(plan) <= MAX_PLAN and is_storable(plan)):
        errors.append(ApiError(pointer("query", "plan"), "not_a_plan", "is empty, too long, or holds a NUL"))
    refuse(errors)
    if is_true("active", given):
        active = {status for status, means in MEANINGS.items() if means.active}
        return Chosen(plan, active.intersection(statuses or active))
    return Chosen(plan, statuses)

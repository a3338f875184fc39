"""Reading a subscription: the one that a user has by our ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field

from worker.domain.account_changes import etag_of, told_of
from worker.domain.accounts import ApiError
from worker.domain.callers import Access
from worker.domain.profile import MAX_USER_ID, is_user_id
from worker.domain.statuses import meaning
from worker.domain.subscription import Subscription
from worker.web.api.operations import Operation, Parameter, Parameters, Refused, Reply, pointer, refuse

MOST_USERS = 200
PATH = "/subscriptions/{user_id}"

Find = Callable[[str], Awaitable[Subscription | None]]
"""The current subscription of this user, on the event loop. Raises `SubkeeperError`."""

Time = datetime | None
USER_ID = {"type": "string", "minLength": 1, "maxLength": MAX_USER_ID, "pattern": "^[^\\u0000]*$"}


USER = Parameter("user_id", "path", "The profile's id", USER_ID)
ACTIVE = Parameter("active", "query", "true: only where it is trialing or active", {"type": "boolean"})


class SubscriptionView(BaseModel):
    """A subscription, as Stripe last told it. It is a user's or a project's. Times are RFC 3339, UTC, or null."""

    user_id: str | None
    project_id: str | None = None
    stripe_subscription: str
    plan: Annotated[str, Field(description="Our name of it; a price that no plan has by its lookup key or id")]
    status: Annotated[str, Field(description="Stripe's status")]
    current: Annotated[bool, Field(description="It hasn't ended")]
    active: Annotated[bool, Field(description="It is trialing or active")]
    grants_access: Annotated[bool, Field(description="The plan's services are to be given")]
    payable: Annotated[bool, Field(description="A default payment method is there: its own, or its customer's")]
    canceling: Annotated[bool, Field(description="It ends with its period")]
    trial_start: Time
    trial_end: Time
    period_start: Time
    period_end: Time
    canceled_at: Time
    ended_at: Time
    failed_charge_attempts: Annotated[int, Field(description="Of the latest invoice")]
    last_failed_charge: Time
    version: Annotated[int, Field(description="Grows with each change")]


class Subscriptions:
    """`pending_plan`: the one that every profile begins with."""

    def __init__(self, find: Find, pending_plan: str) -> None:
        self._find = find
        self._pending_plan = pending_plan

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "GET", PATH, "read_subscription", "A user's current subscription", Access.OWN,
                (USER, ACTIVE), one_user, None, SubscriptionView, has_etag=True, may_miss=True, answer_soon=self._one,
            ),
        )  # fmt: skip

    async def _one(self, user_ids: tuple[str, ...], given: Parameters) -> Reply:
        only_active = is_true("active", given)
        row = await self._find(user_ids[0])
        view = None if row is None else view_of(told_of(row), self._pending_plan)
        if view is None or (only_active and not view.active):
            raise Refused(HTTPStatus.NOT_FOUND, "no_subscription", "the user has none (yet) that is asked for")
        etag = etag_of(view.stripe_subscription, view.version)
        return Reply(HTTPStatus.OK, view.model_dump_json().encode(), etag=etag)


def view_of(told: Mapping[str, Any], pending_plan: str) -> SubscriptionView:
    """Of `told_of` a row, be it read again from JSON."""
    status, plan = str(told["stripe_subscription_status"]), str(told["plan"])
    means = meaning(status, is_pending=plan == pending_plan)
    return SubscriptionView.model_validate({
        **{name: told[name] for name in SubscriptionView.model_fields if name in told},
        "status": status,
        "current": means.current,
        "active": means.active,
        "grants_access": means.grants_access,
    })  # fmt: skip


def one_user(given: Parameters) -> tuple[str, ...]:
    """The one of the path."""
    user_id = given["user_id"][0]
    refuse(_wrong_ids([user_id], ("path", "user_id")))
    return (user_id,)


def many_users(given: Parameters) -> tuple[str, ...]:
    user_ids = given.get("user_id", ())
    place = pointer("query", "user_id")
    if not user_ids:
        refuse([ApiError(place, "missing", "say which users: ?user_id=…&user_id=…")])
    if len(user_ids) > MOST_USERS:
        refuse([ApiError(place, "too_many", f"{MOST_USERS} at most")])
    refuse(_wrong_ids(user_ids, ("query", "user_id")))
    return tuple(user_ids)


def _wrong_ids(user_ids: Sequence[str], place: tuple[str, str]) -> list[ApiError]:
    """The query's are told by their number, from 0."""
    return [
        ApiError(
            pointer(*place, *([number] if place[0] == "query" else [])),
            "not_an_id",
            "is empty, too long, or holds a NUL",
        )
        for number, user_id in enumerate(user_ids)
        if not is_user_id(user_id)
    ]


def is_true(name: str, given: Parameters) -> bool:
    value = given.get(name, ("false",))[0]
    if value not in {"true", "false"}:
        refuse([ApiError(pointer("query", name), "not_a_boolean", "is neither true nor false")])
    return value == "true"

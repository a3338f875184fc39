"""Changing subscriptions: what is asked for is a row first, then work at Stripe, whose end the request waits for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from worker.domain.account_changes import ChangeRefused, Kind, Wish
from worker.domain.accounts import (
    EMPTY,
    UNSET,
    ApiError,
    Plan,
    SubscriptionChange,
    is_acceptable_plan,
    read_change,
    validate_change_request,
    validate_create_request,
)
from worker.domain.callers import Access
from worker.domain.profile import MAX_EMAIL, is_user_id
from worker.store.told_changes import ToldChange
from worker.web.api.change_views import ChangeView, as_refused, change_view, reply_for_now, reply_of
from worker.web.api.operations import Act, Begun, Operation, Parameter, Parameters, Refused, Reply, nobody, refuse
from worker.web.api.subscriptions import PATH, USER, USER_ID, SubscriptionView, one_user

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEY_HEADER = Parameter(
    "Idempotency-Key",
    "header",
    "The same request under the same key is done once, and answered alike; another one is refused",
    {"type": "string", "pattern": f"^{_KEY.pattern}$", "minLength": 1, "maxLength": 255},
)
_MATCH_HEADER = Parameter(
    "If-Match", "header", "An ETag: nothing is done where the subscription has another by now", {"type": "string"}
)
_CHANGE_ID = Parameter("change_id", "path", "The change's id", {"type": "string", "format": "uuid"})

PROBLEMS = {
    HTTPStatus.CONFLICT: "What is there doesn't allow it, or Stripe doesn't",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The Idempotency-Key was used with another request",
}
OF_A_BODY = {
    HTTPStatus.PAYMENT_REQUIRED: "The card was declined; `applied` holds",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is no JSON, or compressed",
}
TOO_MANY = {HTTPStatus.TOO_MANY_REQUESTS: "Changes of this user are still to be made"}
_IF_MATCH = {HTTPStatus.PRECONDITION_FAILED: "The subscription is no longer as If-Match has it"}


@dataclass(frozen=True, slots=True)
class Desk:
    """Where changes are asked for. `ask` commits one, or returns the one of before that was the same; it raises
    `ChangeRefused`, and `Refused` where nothing can be asked for. `expect`: what is told of a change that ends here."""

    ask: Callable[[Wish], ToldChange | None]
    find: Callable[[uuid.UUID], ToldChange | None]
    expect: Callable[[uuid.UUID], Future[ToldChange]]

    def asked(
        self,
        wish: Wish,
        reply_of: Callable[[ToldChange], Reply | None],
        for_now: Callable[[uuid.UUID], Reply],
        *,
        waits: bool = False,
    ) -> Reply | Begun:
        """The reply, or where it is waited for: `reply_of` what has ended (None: it hasn't), and `for_now` where that
        takes too long; `waits`: that may wait for Postgres. Raises `Refused`."""
        ended = self.expect(wish.id)
        try:
            known = self.ask(wish)
        except ChangeRefused as refused:
            raise as_refused(refused.code, refused.detail, refused.errors) from None
        if known is not None:
            if (reply := reply_of(known)) is not None:
                return reply
            ended = self.expect(known.id)
        identifier = wish.id if known is None else known.id
        return Begun(ended, reply_of, partial(self._look, wish, identifier, reply_of), for_now(identifier), waits)

    def _look(self, wish: Wish, change_id: uuid.UUID, reply_of: Callable[[ToldChange], Reply | None]) -> Reply | None:
        """None: it hasn't ended. One that is gone is asked for again: it went with its user, who is erased, and is
        refused for that; or with Postgres, which has crashed as it was taken in."""
        if (told := self.find(change_id)) is not None:
            return reply_of(told)
        try:
            self.ask(wish)
        except ChangeRefused as refused:
            return as_refused(refused.code, refused.detail, refused.errors).reply
        return None


class Changes:
    """`plans`: those that may be chosen, by name; `pending_plan`: the one that every profile begins with."""

    def __init__(self, desk: Desk, plans: Mapping[str, Plan], pending_plan: str) -> None:
        self._desk = desk
        self._plans = plans
        self._pending_plan = pending_plan

    @property
    def operations(self) -> tuple[Operation, ...]:
        created = {**self._body(), "user_id": USER_ID}
        return (
            Operation(
                "POST", "/subscriptions", "create_subscription", "Give a user a subscription, once", Access.ADMIN,
                (KEY_HEADER,), nobody, None, SubscriptionView, has_etag=True, act=self._create,
                body=json_object(created, required=["user_id", "plan"]), success=HTTPStatus.CREATED, later=ChangeView,
                problems={**OF_A_BODY, **PROBLEMS},
            ),
            Operation(
                "PATCH", PATH, "change_subscription", "Change plan, card, email, or whether it ends", Access.CHANGE,
                (USER, KEY_HEADER, _MATCH_HEADER), one_user, None, SubscriptionView, has_etag=True, may_miss=True,
                act=self._change, body=json_object(self._body()), later=ChangeView,
                problems={**OF_A_BODY, **PROBLEMS, **_IF_MATCH, **TOO_MANY},
            ),
            Operation(
                "DELETE", PATH, "delete_subscription", "Cancel it at once, and remove it for good", Access.ADMIN,
                (USER, KEY_HEADER, _MATCH_HEADER), one_user, None, may_miss=True, act=self._delete,
                success=HTTPStatus.NO_CONTENT, later=ChangeView, problems={**PROBLEMS, **_IF_MATCH},
            ),
            Operation(
                "GET", "/account-changes/{change_id}", "read_change", "A change that was asked for", Access.OWN,
                (_CHANGE_ID,), self._whose, self._one, ChangeView, may_miss=True,
            ),
        )  # fmt: skip

    def _body(self) -> dict[str, Any]:
        return {
            "stripe_source": {"type": "string", "pattern": "^pm_[A-Za-z0-9_]{1,250}$"},
            "email": {"type": "string", "format": "email", "maxLength": MAX_EMAIL},
            "plan": {"type": "string", "enum": sorted(self._plans)},
            "canceling": {"type": "boolean"},
        }

    def _create(self, act: Act) -> Reply | Begun:
        document = dict(act.document)
        user_id = document.pop("user_id", None)
        errors = [] if isinstance(user_id, str) and is_user_id(user_id) else [_NO_USER]
        change, wrong = self._read(act, document, validate_create_request, errors)
        return self._asked(act, Kind.CREATE, str(user_id), change, wrong)

    def _change(self, act: Act) -> Reply | Begun:
        change, wrong = self._read(act, act.document, validate_change_request, [])
        return self._asked(act, Kind.UPDATE, act.users[0], change, wrong)

    def _delete(self, act: Act) -> Reply | Begun:
        return self._asked(act, Kind.DELETE, act.users[0], SubscriptionChange())

    def _read(
        self,
        act: Act,
        document: Mapping[str, object],
        validate: Callable[[SubscriptionChange], list[ApiError]],
        errors: Sequence[ApiError],
    ) -> tuple[SubscriptionChange, list[ApiError]]:
        """With what is wrong with it unless it was taken in before. Raises `Refused` for all else."""
        change, unread = read_change(document)
        invalid = validate(change)
        if invalid == [EMPTY] and not unread and not errors:
            raise Refused(HTTPStatus.BAD_REQUEST, "empty_change", EMPTY.detail)
        found = [*errors, *unread, *(each for each in invalid if each != EMPTY)]
        wrong = []
        if change.plan is not UNSET and not is_acceptable_plan(change.plan, act.caller, self._plans):
            wrong = [NOT_ACCEPTABLE]
        if found or read_key(act) is None:
            refuse([each._replace(pointer=f"/body{each.pointer}") for each in (*found, *wrong)])
        return change, wrong

    def _asked(
        self, act: Act, kind: Kind, user_id: str, change: SubscriptionChange, wrong: Sequence[ApiError] = ()
    ) -> Reply | Begun:
        key, etags = read_key(act), act.headers.get("if-match")
        wish = Wish(uuid.uuid4(), kind, user_id, act.caller.name, change, key, _etags(etags), wrong=wrong)
        return self._desk.asked(
            wish,
            partial(reply_of, pending_plan=self._pending_plan),
            partial(reply_for_now, user_id=user_id, kind=kind),
        )

    # What is told of one

    def _whose(self, given: Parameters) -> tuple[str, ...]:
        """Nobody's, where there is none: that isn't told to users."""
        found = self._found(given)
        return () if found is None else (found.user_id,)

    def _one(self, _users: tuple[str, ...], given: Parameters) -> Reply:
        found = self._found(given)
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no_change", "there is no such change, or no longer")
        view = change_view(found, self._pending_plan)
        return Reply(HTTPStatus.OK, view.model_dump_json().encode())

    def _found(self, given: Parameters) -> ToldChange | None:
        try:
            identifier = uuid.UUID(given["change_id"][0])
        except ValueError:
            return None
        return self._desk.find(identifier)


NOT_ACCEPTABLE = ApiError("/plan", "not_acceptable", "there is no such plan, or it is not for you to choose")
_NO_USER = ApiError("/user_id", "not_an_id", "is missing, or is no id that a profile can have")


def read_key(act: Act) -> str | None:
    """The caller's Idempotency-Key. Raises `Refused` for what can't be one."""
    key = act.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        refuse([ApiError("/header/Idempotency-Key", "malformed", "is 1 to 255 visible characters of ASCII")])
    return key


def json_object(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    needed: dict[str, Any] = {"required": list(required)} if required else {"minProperties": 1}
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **needed}


def _etags(if_match: str | None) -> frozenset[str]:
    """Those of the header, without their quotes; none: any will do. A weak one never matches (RFC 9110), nor does a
    header that is there and empty."""
    given = [each.strip() for each in ("*" if if_match is None else if_match).split(",")]
    return frozenset() if "*" in given else frozenset(each.removeprefix('"').removesuffix('"') for each in given)

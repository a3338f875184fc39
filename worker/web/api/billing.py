"""Pages of Stripe's that users are sent to: Checkout, to pay for a plan or to save a card, and the portal."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from worker.domain.account_changes import Kind, Wish
from worker.domain.accounts import UNSET, ApiError, Plan, SubscriptionChange, is_acceptable_plan
from worker.domain.callers import Access, Caller, may_call
from worker.domain.checkouts import MAX_URL, CheckoutState, may_return_to
from worker.domain.portal import Intent
from worker.domain.profile import is_user_id
from worker.domain.text import is_storable
from worker.store.checkouts import ToldCheckout
from worker.store.told_changes import ToldChange
from worker.web.api.change_views import as_refused
from worker.web.api.changes import (
    KEY_HEADER,
    NOT_ACCEPTABLE,
    OF_A_BODY,
    PROBLEMS,
    TOO_MANY,
    Desk,
    json_object,
    read_key,
)
from worker.web.api.operations import Act, Begun, Operation, Parameter, Parameters, Refused, Reply, refuse
from worker.web.api.subscriptions import USER_ID, one_user

_ID = Parameter(
    "checkout_id", "path", "The checkout's id, or its session's (cs_…)", {"type": "string", "maxLength": 255}
)
_URL = {"type": "string", "format": "uri", "description": f"{MAX_URL} characters at most"}

_STATES: Mapping[CheckoutState, str] = {
    CheckoutState.APPLIED: "applied",
    CheckoutState.FAILED: "failed",
    CheckoutState.EXPIRED: "expired",
}
"""What is told of each; anything else is pending."""


class PageView(BaseModel):
    """A page of Stripe's to send the user to, soon: it is for them alone."""

    url: str


class OpenedView(PageView):
    """A page of Checkout's. What comes of it is told at /billing/checkouts/{id}."""

    id: UUID


class CheckoutView(BaseModel):
    """What has come of a page of Checkout's."""

    id: UUID
    user_id: str
    plan: Annotated[str | None, Field(description="The plan that was chosen; null: a card was to be saved")] = None
    state: Annotated[str, Field(description="pending, applied, failed or expired")]
    code: Annotated[str | None, Field(description="Why it failed, or what it waits for")] = None
    url: Annotated[str | None, Field(description="The page, while it is open")] = None


class Billing:
    """`origins`: of the websites that pages may lead back to. `page` opens a page's address that was sealed; `find`
    tells a checkout by its id or its session's."""

    def __init__(
        self,
        desk: Desk,
        plans: Mapping[str, Plan],
        *,
        find: Callable[[UUID | str], ToldCheckout | None],
        page: Callable[[UUID, str], str | None],
        origins: Sequence[str],
    ) -> None:
        self._desk = desk
        self._plans = plans
        self._find = find
        self._page = page
        self._origins = tuple(origins)

    @property
    def operations(self) -> tuple[Operation, ...]:
        user = {"user_id": USER_ID}
        chosen = {**user, "plan": {"type": "string", "enum": sorted(self._plans)}}
        subscribe = {**chosen, "success_url": _URL, "cancel_url": _URL}
        manage = {
            **user,
            "subscription_id": {"type": "string", "minLength": 1, "maxLength": 255},
            "intent": {"type": "string", "enum": [each.value for each in Intent]},
            "return_url": _URL,
        }
        problems = {**OF_A_BODY, **PROBLEMS, **TOO_MANY}
        asking: dict[str, Any] = {"names_user": True, "may_miss": True, "problems": problems}
        return (
            Operation(
                "POST", "/billing/subscriptions", "open_checkout", "A page of Checkout's, to choose and pay for a plan",
                Access.CHANGE, (KEY_HEADER,), one_user, None, OpenedView, act=self._subscribe,
                body=json_object(subscribe, list(subscribe)), success=HTTPStatus.CREATED, later=CheckoutView, **asking,
            ),
            Operation(
                "POST", "/billing/payment-methods/setup", "save_card", "A page of Checkout's, to save a card",
                Access.CHANGE, (KEY_HEADER,), one_user, None, OpenedView, act=self._save_card,
                body=json_object({**user, "return_url": _URL}, ["user_id", "return_url"]),
                success=HTTPStatus.CREATED, later=CheckoutView, **asking,
            ),
            Operation(
                "POST", "/billing/subscriptions/manage", "open_portal", "A page of the portal's, to do one thing",
                Access.CHANGE, (KEY_HEADER,), one_user, None, PageView, act=self._manage,
                body=json_object(manage, ["user_id", "intent", "return_url"]), **asking,
            ),
            Operation(
                "GET", "/billing/checkouts/{checkout_id}", "read_checkout", "What has come of a page of Checkout's",
                Access.OWN, (_ID,), self._whose, None, CheckoutView, may_miss=True, answer_for=self._one,
            ),
        )  # fmt: skip

    # What is asked for

    def _subscribe(self, act: Act) -> Reply | Begun:
        plan = act.document.get("plan")
        wrong = []
        if not isinstance(plan, str) or not is_acceptable_plan(plan, act.caller, self._plans):
            wrong = [NOT_ACCEPTABLE]
        may_be_known = isinstance(plan, str) and read_key(act) is not None
        told = [] if may_be_known else [each._replace(pointer=f"/body{each.pointer}") for each in wrong]
        given = self._read(act, {"success_url", "cancel_url"}, {"plan"}, told)
        urls = {name: given[name] for name in ("success_url", "cancel_url")}
        return self._asked(act, Kind.CHECKOUT, urls, SubscriptionChange(plan=str(plan)), wrong)

    def _save_card(self, act: Act) -> Reply | Begun:
        url = self._read(act, {"return_url"}, set(), [])["return_url"]
        return self._asked(act, Kind.CHECKOUT, {"success_url": url, "cancel_url": url})

    def _manage(self, act: Act) -> Reply | Begun:
        errors = []
        if act.document.get("intent") not in list(Intent):
            errors.append(ApiError("/body/intent", "unknown", f"is none of {', '.join(Intent)}"))
        named = act.document.get("subscription_id", "of the ledger")
        if not isinstance(named, str) or not 0 < len(named) <= 255 or not is_storable(named):
            errors.append(ApiError("/body/subscription_id", "not_an_id", "is no id of a subscription"))
        given = self._read(act, {"return_url"}, {"intent", "subscription_id"}, errors)
        return self._asked(act, Kind.PORTAL, given)

    def _read(self, act: Act, urls: set[str], others: set[str], errors: list[ApiError]) -> dict[str, str]:
        """The body but for the user. Raises `Refused` for what is wrong with it, `errors` included."""
        document = {name: value for name, value in act.document.items() if name != "user_id"}
        errors = [*errors, *(_unknown(name) for name in document.keys() - urls - others)]
        for name in sorted(urls):
            url = document.get(name)
            if not isinstance(url, str) or not may_return_to(url, self._origins):
                detail = "is missing, or no address of a website that is listed in api.return_origins"
                errors.append(ApiError(f"/body/{name}", "origin_not_allowed", detail))
        refuse(errors)
        return {name: str(value) for name, value in document.items()}

    def _asked(
        self,
        act: Act,
        kind: Kind,
        about: Mapping[str, str],
        change: SubscriptionChange | None = None,
        wrong: Sequence[ApiError] = (),
    ) -> Reply | Begun:
        wish = Wish(
            uuid.uuid4(),
            kind,
            act.users[0],
            act.caller.name,
            change or SubscriptionChange(),
            read_key(act),
            about=about,
            wrong=wrong,
        )
        return self._desk.asked(wish, self._reply_of, partial(self._for_now, wish))

    # What is answered

    def _reply_of(self, told: ToldChange) -> Reply | None:
        """The same whenever it is asked for. None: it hasn't ended."""
        if told.result is None:
            return None
        if (error := told.result.get("error")) is not None:
            errors = [ApiError(**each) for each in error["errors"]]
            return as_refused(error["code"], error["detail"], errors).reply
        url = self._page(told.id, told.result["url"])
        if url is None:
            detail = "the page's address can't be told any more"
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail).reply
        if told.kind == Kind.PORTAL:
            return Reply(HTTPStatus.OK, PageView(url=url).model_dump_json().encode())
        view, where = OpenedView(id=told.id, url=url), f"/billing/checkouts/{told.id}"
        return Reply(HTTPStatus.CREATED, view.model_dump_json().encode(), headers=(("location", where),))

    def _for_now(self, wish: Wish, change_id: UUID) -> Reply:
        """A checkout is told of at its place; an address of the portal's is worth nothing a minute later."""
        if wish.kind is Kind.PORTAL:
            detail = "Stripe takes its time; the same request under its Idempotency-Key is answered once it is there"
            later = (("retry-after", "1"),)
            return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers=later).reply
        plan = wish.change.plan
        view = CheckoutView(id=change_id, user_id=wish.user_id, plan=None if plan is UNSET else plan, state="pending")
        where = (("location", f"/billing/checkouts/{change_id}"), ("retry-after", "1"))
        return Reply(HTTPStatus.ACCEPTED, view.model_dump_json().encode(), headers=where)

    def _whose(self, given: Parameters) -> tuple[str, ...]:
        """Nobody's, where there is none: that isn't told to users."""
        found = self._found(given)
        return () if found is None else (found.user_id,)

    def _one(self, caller: Caller, users: tuple[str, ...], given: Parameters) -> Reply:
        """The address for whoever might have asked for the page: what one does there is a change."""
        found = self._found(given)
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, "no_checkout", "there is no such checkout, or no longer")
        is_open = found.state is CheckoutState.OPEN and found.url is not None
        is_theirs = may_call(Access.CHANGE, caller, users)
        view = CheckoutView(
            id=found.id,
            user_id=found.user_id,
            plan=found.plan,
            state=_STATES.get(found.state, "pending"),
            code=found.code,
            url=self._page(found.id, str(found.url)) if is_open and is_theirs else None,
        )
        return Reply(HTTPStatus.OK, view.model_dump_json().encode())

    def _found(self, given: Parameters) -> ToldCheckout | None:
        named = given["checkout_id"][0]
        if named.startswith("cs_"):
            return self._find(named) if is_user_id(named) else None
        try:
            return self._find(UUID(named))
        except ValueError:
            return None


def _unknown(name: str) -> ApiError:
    return ApiError(f"/body/{name.replace('~', '~0').replace('/', '~1')}", "unknown", "there is no such one")

"""Who owns a customer, which may be several: users and projects, as payers or members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, Field

from worker.domain.account_changes import ChangeRefused
from worker.domain.accounts import ApiError
from worker.domain.callers import Access, Caller
from worker.domain.owners import Owner, OwnerKind, Role, Share, told_of
from worker.domain.profile import is_user_id
from worker.store.owners import Owned
from worker.web.api.change_views import as_refused
from worker.web.api.operations import Act, Operation, Parameter, Parameters, Refused, Reply, nobody, pointer, refuse
from worker.web.api.paging import NEXT_CURSOR, PAGING, Places, numbered
from worker.web.api.subscriptions import USER, USER_ID, one_user

PATH = "/billing/owners"

T = TypeVar("T")

_CUSTOMER = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000]*$"}
_KINDS = {"user_id": OwnerKind.USER, "project_id": OwnerKind.PROJECT}
_BODY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "customer": _CUSTOMER,
        "user_id": USER_ID,
        "project_id": USER_ID,
        "role": {"type": "string", "enum": [each.value for each in Role]},
    },
    "required": ["customer", "role"],
    "oneOf": [{"required": ["user_id"]}, {"required": ["project_id"]}],
    "additionalProperties": False,
}
_PROBLEMS = {
    HTTPStatus.CONFLICT: "What is there doesn't allow it",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too long",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is no JSON, or compressed",
}


class OwnerView(BaseModel):
    """An owner of a customer: a user or a project."""

    customer: Annotated[str, Field(description="Stripe's id")]
    user_id: str | None = None
    project_id: str | None = None
    role: Annotated[str, Field(description="payer: checkout, cards and defaults are theirs too; or member")]
    metadata: Annotated[
        Mapping[str, str],
        Field(description="What makes a subscription this owner's at Stripe; on a shared customer nothing else does"),
    ]


class OwnerList(BaseModel):
    owners: list[OwnerView]
    next_cursor: Annotated[str | None, Field(description=NEXT_CURSOR)]


class Desk(Protocol):
    """Where it is kept. All raise `ChangeRefused`, and `SubkeeperError` where that can't be told now."""

    def of(self, customer_id: str, after: Owner | None, limit: int) -> Sequence[Share]: ...

    def owned_by(self, owner: Owner, after: int, limit: int) -> Sequence[Owned]: ...

    def set(self, customer_id: str, owner: Owner, role: Role | None) -> None:
        """None takes it away."""


def _read_owner(told: str) -> Owner | None:
    kind, _, identifier = told.partition(":")
    if not is_user_id(identifier):
        raise ValueError(told)
    return Owner(OwnerKind(kind), identifier)


OWNERS: Places[Owner | None] = Places("owners", None, lambda owner: ":".join(owner or ()), _read_owner)
OWNED = numbered("owned", 0)


class Owners:
    def __init__(self, desk: Desk, namespace: str) -> None:
        self._desk = desk
        self._namespace = namespace

    @property
    def operations(self) -> tuple[Operation, ...]:
        customer = Parameter("customer", "query", "Stripe's id of the customer", _CUSTOMER, is_required=True)
        owner = tuple(Parameter(name, "query", f"The owner, a {kind}", USER_ID) for name, kind in _KINDS.items())
        project = Parameter("project_id", "path", "The project's id", USER_ID)
        return (
            Operation(
                "GET", PATH, "list_owners", "Who owns a customer", Access.READ, (customer, *PAGING), nobody, self._of,
                OwnerList, may_miss=True,
            ),
            Operation(
                "GET", f"{PATH}/users/{{user_id}}", "list_owned_by_user", "The customers that a user owns", Access.OWN,
                (USER, *PAGING), one_user, self._owned, OwnerList,
            ),
            Operation(
                "GET", f"{PATH}/projects/{{project_id}}", "list_owned_by_project", "The customers that a project owns",
                Access.READ, (project, *PAGING), nobody, self._owned, OwnerList,
            ),
            Operation(
                "PUT", PATH, "give_role", "Give a user or a project a role on a customer", Access.ADMIN,
                (), nobody, None, OwnerView, may_miss=True, act=self._give, body=_BODY, problems=_PROBLEMS,
            ),
            Operation(
                "DELETE", PATH, "take_role_away", "An owner of a customer is one no more", Access.ADMIN,
                (customer, *owner), nobody, None, may_miss=True, answer_for=self._take_away,
                success=HTTPStatus.NO_CONTENT, problems={HTTPStatus.CONFLICT: _PROBLEMS[HTTPStatus.CONFLICT]},
            ),
        )  # fmt: skip

    def _of(self, _users: tuple[str, ...], given: Parameters) -> Reply:
        customer_id = given.get("customer", ("",))[0]
        refuse(_wrong_ids({"customer": customer_id}, "query"))
        page = OWNERS.page(given)
        found = _asked(partial(self._desk.of, customer_id, page.after, page.fetched))
        shares, cursor = OWNERS.cut(found, page, lambda share: share.owner)
        return _replied(OwnerList(owners=[self._view(customer_id, each) for each in shares], next_cursor=cursor))

    def _owned(self, _users: tuple[str, ...], given: Parameters) -> Reply:
        ((name, kind),) = ((name, kind) for name, kind in _KINDS.items() if name in given)
        refuse(_wrong_ids({name: given[name][0]}, "path"))
        owner = Owner(kind, given[name][0])
        page = OWNED.page(given)
        found = self._desk.owned_by(owner, page.after, page.fetched)
        owned, cursor = OWNED.cut(found, page, lambda each: each.number)
        views = [self._view(each.customer_id, Share(owner, each.role)) for each in owned]
        return _replied(OwnerList(owners=views, next_cursor=cursor))

    def _give(self, act: Act) -> Reply:
        known = {"customer", "role", *_KINDS}
        errors = [
            ApiError(pointer("body", name), "unknown", "there is no such property")
            for name in act.document.keys() - known
        ]
        role = act.document.get("role")
        if role not in list(Role):
            errors.append(ApiError("/body/role", "unknown", f"is none of {', '.join(Role)}"))
        customer_id, owner = _which(act.document, "body", errors)
        share = Share(owner, Role(str(role)))
        _asked(partial(self._desk.set, customer_id, *share))
        return _replied(self._view(customer_id, share))

    def _take_away(self, _caller: Caller, _users: tuple[str, ...], given: Parameters) -> Reply:
        customer_id, owner = _which({name: values[0] for name, values in given.items()}, "query", [])
        _asked(partial(self._desk.set, customer_id, owner, None))
        return Reply(HTTPStatus.NO_CONTENT, b"")

    def _view(self, customer_id: str, share: Share) -> OwnerView:
        return OwnerView.model_validate(told_of(customer_id, share, self._namespace))


def _replied(view: BaseModel) -> Reply:
    return Reply(HTTPStatus.OK, view.model_dump_json().encode())


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except ChangeRefused as refused:
        if refused.code == "no_customer":
            raise Refused(HTTPStatus.NOT_FOUND, refused.code, refused.detail) from None
        raise as_refused(refused.code, refused.detail) from None


def _which(given: Mapping[str, object], place: str, errors: Sequence[ApiError]) -> tuple[str, Owner]:
    """The customer and the owner. Raises `Refused` for what is wrong, `errors` included."""
    named = [name for name in _KINDS if name in given]
    found = [*errors, *_wrong_ids({"customer": given.get("customer"), **{name: given[name] for name in named}}, place)]
    if len(named) != 1:
        found.append(ApiError(f"/{place}", "not_one", "say whose: user_id or project_id"))
    refuse(found)
    return str(given["customer"]), Owner(_KINDS[named[0]], str(given[named[0]]))


def _wrong_ids(given: Mapping[str, object], place: str) -> list[ApiError]:
    return [
        ApiError(pointer(place, name), "not_an_id", "is missing, empty, too long, or holds a NUL")
        for name, value in given.items()
        if not isinstance(value, str) or not is_user_id(value)
    ]

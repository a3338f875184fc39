"""Who owns a customer, which may be several: users and projects, as payers or members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, Field

from worker.domain.account_changes import ChangeRefused
from worker.domain.accounts import ApiError
from worker.domain.callers import Access, Caller
from worker.domain.owners import Owner, OwnerKind, Role, Share, metadata_of
from worker.web.api.change_views import as_refused
from worker.web.api.operations import Act, Operation, Parameter, Parameters, Refused, Reply, nobody, pointer, refuse
from worker.web.api.subscriptions import USER, USER_ID, is_user_id, one_user

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


class Desk(Protocol):
    """Where it is kept. All raise `ChangeRefused`, and `SubkeeperError` where that can't be told now."""

    def of(self, customer_id: str) -> Sequence[Share]: ...

    def owned_by(self, owner: Owner) -> Mapping[str, Role]: ...

    def set(self, customer_id: str, owner: Owner, role: Role | None) -> Sequence[Share]:
        """None takes it away. Returns who owns it then."""


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
                "GET", PATH, "list_owners", "Who owns a customer", Access.READ, (customer,), nobody, self._of,
                OwnerList, may_miss=True,
            ),
            Operation(
                "GET", f"{PATH}/users/{{user_id}}", "list_owned_by_user", "The customers that a user owns", Access.OWN,
                (USER,), one_user, self._owned, OwnerList,
            ),
            Operation(
                "GET", f"{PATH}/projects/{{project_id}}", "list_owned_by_project", "The customers that a project owns",
                Access.READ, (project,), nobody, self._owned, OwnerList,
            ),
            Operation(
                "PUT", PATH, "give_role", "Give a user or a project a role on a customer", Access.ADMIN,
                (), nobody, None, OwnerList, may_miss=True, act=self._give, body=_BODY, problems=_PROBLEMS,
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
        return self._listed(customer_id, _asked(lambda: self._desk.of(customer_id)))

    def _owned(self, _users: tuple[str, ...], given: Parameters) -> Reply:
        ((name, kind),) = ((name, kind) for name, kind in _KINDS.items() if name in given)
        refuse(_wrong_ids({name: given[name][0]}, "path"))
        owner = Owner(kind, given[name][0])
        owned = self._desk.owned_by(owner)
        views = [self._view(customer_id, Share(owner, role)) for customer_id, role in sorted(owned.items())]
        return Reply(HTTPStatus.OK, OwnerList(owners=views).model_dump_json().encode())

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
        return self._listed(customer_id, _asked(lambda: self._desk.set(customer_id, owner, Role(str(role)))))

    def _take_away(self, _caller: Caller, _users: tuple[str, ...], given: Parameters) -> Reply:
        customer_id, owner = _which({name: values[0] for name, values in given.items()}, "query", [])
        _asked(lambda: self._desk.set(customer_id, owner, None))
        return Reply(HTTPStatus.NO_CONTENT, b"")

    def _listed(self, customer_id: str, shares: Sequence[Share]) -> Reply:
        views = [self._view(customer_id, each) for each in shares]
        return Reply(HTTPStatus.OK, OwnerList(owners=views).model_dump_json().encode())

    def _view(self, customer_id: str, share: Share) -> OwnerView:
        owner = share.owner
        return OwnerView(
            customer=customer_id,
            user_id=owner.id if owner.kind is OwnerKind.USER else None,
            project_id=owner.id if owner.kind is OwnerKind.PROJECT else None,
            role=share.role.value,
            metadata=metadata_of(owner, self._namespace),
        )


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

"""Who may call what: each rule for each caller."""

from __future__ import annotations

import pytest

from worker.domain.callers import ADMIN, READ, SCOPES, Access, Caller, is_for_all, may_call

ANN = Caller("ann", frozenset(), "user ann")
READER = Caller("bob", frozenset({READ.id}), "user bob")
ADMIN_USER = Caller("eve", frozenset({ADMIN.id}), "user eve")
ADMIN_TOKEN = Caller(None, frozenset({ADMIN.id}), "admin 0")
STRANGER = Caller("ann", frozenset({"subscriptions", "subscriptions:", "SUBSCRIPTIONS:ADMIN", "*"}), "user ann")
POWERLESS = Caller(None, frozenset(), "nobody's")

CALLERS = [None, ANN, STRANGER, POWERLESS, READER, ADMIN_USER, ADMIN_TOKEN]


@pytest.mark.parametrize(
    ("access", "users", "allowed"),
    [
        (Access.PUBLIC, (), CALLERS),
        (Access.PUBLIC, ("ann",), CALLERS),
        (Access.OWN, ("ann",), [ANN, STRANGER, READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.OWN, ("ann", "ann"), [ANN, STRANGER, READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.OWN, ("bob",), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.OWN, ("ann", "bob"), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.OWN, ("Ann",), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.OWN, (), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.PAYER, (), [ANN, STRANGER, READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.READ, (), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.READ, ("ann",), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.CHANGE, ("ann",), [ANN, STRANGER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.CHANGE, ("bob",), [READER, ADMIN_USER, ADMIN_TOKEN]),
        (Access.CHANGE, ("ann", "bob"), [ADMIN_USER, ADMIN_TOKEN]),
        (Access.CHANGE, (), [ADMIN_USER, ADMIN_TOKEN]),
        (Access.ADMIN, ("ann",), [ADMIN_USER, ADMIN_TOKEN]),
        (Access.ADMIN, ("eve",), [ADMIN_USER, ADMIN_TOKEN]),
        (Access.ADMIN, (), [ADMIN_USER, ADMIN_TOKEN]),
    ],
)
def test_who_may_call(access: Access, users: tuple[str, ...], allowed: list[Caller | None]) -> None:
    assert [caller for caller in CALLERS if may_call(access, caller, users)] == allowed


def test_what_a_payer_may_see_is_everybodys_only_by_a_scope() -> None:
    assert [caller for caller in CALLERS if caller and is_for_all(Access.PAYER, caller)] == [
        READER,
        ADMIN_USER,
        ADMIN_TOKEN,
    ]


def test_every_scope_says_what_it_is_for_and_opens_something() -> None:
    assert all(scope.description for scope in SCOPES)
    assert {scope for access in Access for scope in access.scopes} == set(SCOPES)


def test_only_one_scope_makes_an_admin() -> None:
    assert [caller for caller in CALLERS if caller and caller.is_admin] == [ADMIN_USER, ADMIN_TOKEN]

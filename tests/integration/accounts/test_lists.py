"""Lists over HTTP, page by page: all subscriptions, a project's to who may see them, and owners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, signed_up, token_of
from tests.integration.accounts.test_owners import customer, give, metadata, take_away
from tests.integration.accounts.test_owners import subscribe as subscribe_at_stripe
from tests.integration.web.callers import Reply, ask, subscribe

READ = "subscriptions:read"
EVERYBODYS = "/subscriptions"


def page(accounts: Accounts, path: str, token: str = ADMIN.token, **query: Any) -> Reply:
    return ask(accounts, f"{path}?{urlencode(query, doseq=True)}", token)


def pages(accounts: Accounts, path: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Each, as somebody asks for them one after the other."""
    told = page(accounts, path, **query).body
    while True:
        cursor = told.pop("next_cursor")
        (rows,) = told.values()
        yield rows
        if cursor is None:
            return
        told = page(accounts, path, **query, cursor=cursor).body


def users(rows: list[dict[str, Any]]) -> list[str]:
    return [each["user_id"] for each in rows]


def of_project(accounts: Accounts, token: str | None, project: str = "p") -> Reply:
    return ask(accounts, f"/projects/{quote(project, safe='')}/subscriptions", token)


@pytest.fixture
def five(accounts: Accounts) -> Accounts:
    """ann's, and after it those of u-0 to u-3."""
    kinds = [("trialing", "pending"), ("past_due", "pro"), ("active", "pro"), ("unpaid", "gold")]
    for number, kind in enumerate(kinds):
        subscribe(accounts.stack.database_url, f"u-{number}", *kind)
    return accounts


def test_all_are_listed_by_pages_the_newest_first(five: Accounts) -> None:
    found = [users(each) for each in pages(five, EVERYBODYS, limit=2)]
    assert found == [["u-3", "u-2"], ["u-1", "u-0"], ["ann"]]
    assert [len(each) for each in pages(five, EVERYBODYS)] == [5]
    (ann,) = page(five, EVERYBODYS, limit=200).body["subscriptions"][4:]
    assert ann == five.read("ann").body


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"plan": "pro"}, [["u-2"], ["u-1"]]),
        ({"plan": "silver"}, [[]]),
        ({"status": "trialing"}, [["u-0"], ["ann"]]),
        ({"status": ["past_due", "unpaid"]}, [["u-3"], ["u-1"]]),
        ({"status": "past_due", "plan": "pro"}, [["u-1"]]),
        ({"active": "true"}, [["u-2"], ["u-0"], ["ann"]]),
        ({"active": "true", "plan": "pro", "status": ["active", "unpaid"]}, [["u-2"]]),
        ({"active": "true", "status": "unpaid"}, [[]]),
        ({"user_id": ["u-1", "u-2", "ann"], "plan": "pro", "active": "true"}, [["u-2"]]),
        ({"user_id": ["u-1", "u-3", "ann"], "status": ["past_due", "trialing"]}, [["ann", "u-1"]]),
    ],
)
def test_a_list_is_of_one_plan_or_some_statuses(five: Accounts, query: dict[str, Any], found: list[list[str]]) -> None:
    paging = {} if "user_id" in query else {"limit": 1}
    assert [users(each) for each in pages(five, EVERYBODYS, **query, **paging)] == found


def test_a_cursor_outlives_its_row(five: Accounts) -> None:
    walk = pages(five, EVERYBODYS, limit=2)
    assert users(next(walk)) == ["u-3", "u-2"]
    five.stack.rows("DELETE FROM billing_customers WHERE user_id IN ('u-2', 'u-1')")
    subscribe(five.stack.database_url, "new")
    assert [users(each) for each in walk] == [["u-0", "ann"]]


def test_all_are_for_who_may_read_everybodys(five: Accounts) -> None:
    tokens = [token_of("ann"), token_of("ann", READ), token_of("eve", "subscriptions:admin"), ADMIN.token]
    assert [page(five, EVERYBODYS, token, limit=1).status for token in tokens] == [403, 200, 200, 200]


def test_a_projects_subscriptions_are_told_to_its_payers_and_to_who_may_read_everybodys(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob", "mel")
    give(accounts, "payer", user_id="bob")
    give(accounts, "member", user_id="mel")
    give(accounts, "member", project_id="p")
    made = subscribe_at_stripe(accounts, **metadata(accounts, "p"))
    callers = {
        "nobody": None, "a forger": "forged", "a stranger": token_of("eve"), "the project's namesake": token_of("p"),
        "a member": token_of("mel"), "the own user": token_of("ann"), "another payer": token_of("bob"),
        "a reader": token_of("eve", READ), "an admin": token_of("eve", "subscriptions:admin"), "a token": ADMIN.token,
        "another scope's": token_of("eve", "admin"),
    }  # fmt: skip
    assert {who: of_project(accounts, token).status for who, token in callers.items()} == {
        "nobody": 401, "a forger": 401, "a stranger": 403, "the project's namesake": 403, "a member": 403,
        "the own user": 200, "another payer": 200, "a reader": 200, "an admin": 200, "a token": 200,
        "another scope's": 403,
    }  # fmt: skip
    told = of_project(accounts, token_of("bob")).body
    (row,) = told["subscriptions"]
    assert (row["stripe_subscription"], row["user_id"], row["project_id"]) == (made, None, "p")
    assert (row["status"], row["active"], told["next_cursor"]) == ("trialing", True, None)
    assert told == of_project(accounts, ADMIN.token).body
    assert made in {each["stripe_subscription"] for each in page(accounts, EVERYBODYS).body["subscriptions"]}


def test_a_payer_who_is_made_a_member_or_taken_away_is_told_nothing_more(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    give(accounts, "payer", user_id="bob")
    give(accounts, "payer", project_id="p")
    subscribe_at_stripe(accounts, **metadata(accounts, "p"))
    give(accounts, "member", user_id="ann")
    take_away(accounts, user_id="bob")
    assert [of_project(accounts, token_of(name)).status for name in ("ann", "bob")] == [403, 403]


def test_a_payer_is_told_what_a_project_has_on_their_customer_alone(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    give(accounts, "member", project_id="p")
    anns = subscribe_at_stripe(accounts, **metadata(accounts, "p"))
    give(accounts, "payer", to=customer(accounts, "bob"), project_id="p")
    bobs = subscribe_at_stripe(accounts, **metadata(accounts, "p"), customer=customer(accounts, "bob"))
    told = {
        who: {each["stripe_subscription"] for each in of_project(accounts, token).body["subscriptions"]}
        for who, token in (("ann", token_of("ann")), ("bob", token_of("bob")), ("admin", ADMIN.token))
    }
    assert told == {"ann": {anns}, "bob": {bobs}, "admin": {anns, bobs}}


def test_that_a_project_is_there_is_not_told_and_one_without_any_has_none(accounts: Accounts) -> None:
    give(accounts, "member", project_id="p")
    refused = [of_project(accounts, token_of("eve"), project) for project in ("p", "nowhere")]
    assert refused[0].body == refused[1].body
    assert refused[0].headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="subscriptions:read"'
    for token, project in ((token_of("ann"), "p"), (ADMIN.token, "nowhere"), (ADMIN.token, "a/subscriptions")):
        assert of_project(accounts, token, project).body == {"subscriptions": [], "next_cursor": None}
    for project in ("", "\0", "x" * 256):
        reply = of_project(accounts, ADMIN.token, project)
        assert (reply.status, [each["pointer"] for each in reply.body["errors"]]) == (400, ["/path/project_id"])


def test_owners_and_what_they_own_are_listed_by_pages(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob", "eve")
    for owner in ({"user_id": "bob"}, {"project_id": "p"}, {"project_id": "q"}):
        give(accounts, "member", **owner)
    own = pages(accounts, "/billing/owners", customer=customer(accounts), limit=2)
    assert [[each["user_id"] or each["project_id"] for each in found] for found in own] == [["p", "q"], ["ann", "bob"]]
    for name in ("bob", "eve"):
        give(accounts, "payer", to=customer(accounts, name), project_id="p")
    owned = [each for found in pages(accounts, "/billing/owners/projects/p", limit=1) for each in found]
    assert [(each["customer"], each["role"]) for each in owned] == [
        (customer(accounts), "member"), (customer(accounts, "bob"), "payer"), (customer(accounts, "eve"), "payer"),
    ]  # fmt: skip
    for path in (f"/billing/owners?customer={customer(accounts)}&", "/billing/owners/users/ann?"):
        refused = ask(accounts, f"{path}limit=0&cursor=x", ADMIN.token)
        pointers = [each["pointer"] for each in refused.body["errors"]]
        assert (refused.status, pointers) == (400, ["/query/cursor", "/query/limit"])

"""Who may ask for what, and what of a request can't be done: told by JSON pointers, before anything is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, token_of
from tests.integration.web.callers import ask
from tests.support.jwts import claims, signed
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token

WHO = {
    "nobody": None,
    "a forger": signed(claims("ann"), "another-secret-of-more-than-32-characters", "HS256", None),
    "the user": token_of("ann"),
    "another user": token_of("bob"),
    "a reader": token_of("bob", "subscriptions:read"),
    "an admin by scope": token_of("bob", "subscriptions:admin"),
    "an admin token": ADMIN.token,
    "a token of another deployment": new_token().token,
}
CHANGE = {"nobody": 401, "a forger": 401, "another user": 403, "a reader": 403, "a token of another deployment": 401}
ADMINS = {**CHANGE, "the user": 403}


def test_who_may_change_create_and_delete(accounts: Accounts) -> None:
    """Those who may are told why not: nobody is called so, and nothing is asked for."""
    for who, token in WHO.items():
        asked = [
            (ask(accounts, "/subscriptions/ann", token, "PATCH", {}), CHANGE.get(who, 400)),
            (ask(accounts, "/subscriptions/ann", token, "DELETE", If_Match='"other"'), ADMINS.get(who, 412)),
            (ask(accounts, "/subscriptions", token, "POST", {"user_id": "ann", "plan": "pro"}), ADMINS.get(who, 409)),
        ]
        assert [reply.status for reply, _ in asked] == [status for _, status in asked], who
    assert accounts.rows() == []


@pytest.mark.parametrize(
    ("plan", "user", "admin"), [("pro", 200, 200), ("free", 400, 200), ("pending", 400, 200), ("silver", 400, 400)]
)
def test_which_plans_who_may_choose(accounts: Accounts, plan: str, user: int, admin: int) -> None:
    for token, status in ((token_of("ann"), user), (ADMIN.token, admin)):
        reply = accounts.change("ann", {"plan": plan}, token)
        assert reply.status == status
        if status == 400:
            assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == [
                ("/body/plan", "not_acceptable")
            ]


WRONG: list[tuple[object, list[tuple[str, str]]]] = [
    ({"plan": 7}, [("/body/plan", "wrong_type")]),
    ({"plan": None}, [("/body/plan", "wrong_type")]),
    ({"canceling": "yes"}, [("/body/canceling", "wrong_type")]),
    ({"email": "ann"}, [("/body/email", "not_an_email")]),
    ({"email": "ann@example.org\0"}, [("/body/email", "wrong_type")]),
    ({"stripe_source": "tok_visa"}, [("/body/stripe_source", "not_a_payment_method")]),
    ({"a/b": 1, "c~d": 2}, [("/body/a~1b", "unknown"), ("/body/c~0d", "unknown")]),
    ({"status": "active", "trial_end": None}, [
        ("/body/status", "system_controlled"), ("/body/trial_end", "system_controlled"),
    ]),
    ({"trial_end": "tomorrow", "failed_charge_attempts": True, "plan": "pro"}, [
        ("/body/failed_charge_attempts", "wrong_type"), ("/body/trial_end", "wrong_type"),
    ]),
    (b"", [("/body", "not_json")]),
    (b"[]", [("/body", "not_an_object")]),
    (b'{"plan": "pro", "plan": "gold"}', [("/body", "duplicate_key")]),
    (b'{"canceling": NaN}', [("/body", "not_a_json_number")]),
    (b"\xff\xfe", [("/body", "not_utf8")]),
    (b"[" * 5000, [("/body", "nested_too_deep")]),
]  # fmt: skip


def test_what_of_a_change_is_wrong_is_told_by_json_pointers(accounts: Accounts) -> None:
    for body, errors in WRONG:
        reply = accounts.change("ann", body)
        assert (reply.status, reply.body["code"]) == (400, "parameters_wrong"), body
        assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == errors, body
        assert reply.headers["Content-Type"] == "application/problem+json"
    assert accounts.rows() == []


def test_a_change_of_nothing_has_its_own_name(accounts: Accounts) -> None:
    for reply in (accounts.change("ann", {}), accounts.create({"user_id": "new"})):
        assert (reply.status, reply.body["code"]) == (400, "empty_change")


CREATIONS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"plan": "pro"}, [("/body/user_id", "not_an_id")]),
    ({"plan": "pro", "user_id": ""}, [("/body/user_id", "not_an_id")]),
    ({"plan": "pro", "user_id": 7}, [("/body/user_id", "not_an_id")]),
    ({"plan": "pro", "user_id": "x" * 256}, [("/body/user_id", "not_an_id")]),
    ({"user_id": "new", "email": "new@example.org"}, [("/body/plan", "missing")]),
    ({"user_id": "new", "plan": "silver"}, [("/body/plan", "not_acceptable")]),
    ({"user_id": "new", "plan": "pro", "canceling": True}, [("/body/canceling", "not_there_yet")]),
]


def test_what_of_a_creation_is_wrong_is_told_likewise(accounts: Accounts) -> None:
    for body, errors in CREATIONS:
        reply = accounts.create(body)
        assert reply.status == 400
        assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == errors, body
    assert accounts.stack.ledger("new") == {}


def test_bodies_that_are_not_taken(accounts: Accounts) -> None:
    assert accounts.change("ann", b"plan=pro", Content_Type="application/x-www-form-urlencoded").status == 415
    assert accounts.change("ann", b"{}", Content_Encoding="gzip").status == 415
    assert accounts.change("ann", b" " * 17_000).status == 413
    merge = accounts.change("ann", {}, Content_Type="application/merge-patch+json; charset=utf-8")
    assert merge.body["code"] == "empty_change"


def test_who_has_no_subscription_has_none_to_change_or_delete(accounts: Accounts) -> None:
    accounts.stack.rows(
        "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES ('new', 'pending', now(), 0)"
    )
    for user in ("new", "nobody"):
        for reply in (accounts.change(user, {"plan": "pro"}), accounts.delete(user)):
            assert (reply.status, reply.body["code"]) == (404, "no_subscription")


@pytest.mark.parametrize("status", ["incomplete", "incomplete_expired", "canceled"])
def test_what_a_status_forbids_is_refused_before_stripe_is_asked(accounts: Accounts, status: str) -> None:
    accounts.stack.rows("UPDATE billing_subscriptions SET stripe_subscription_status = %s", status)
    reply = accounts.change("ann", {"plan": "pro", "canceling": True, "email": "ann@new.example"})
    assert (reply.status, reply.body["code"]) == (409, "status_forbids")
    assert [each["pointer"] for each in reply.body["errors"]] == ["/body/canceling", "/body/plan"]


def test_what_stripe_forbids_is_told_though_our_row_is_behind(accounts: Accounts) -> None:
    accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{accounts.id_of('ann')}")
    reply = accounts.change("ann", {"email": "ann@new.example", "plan": "pro"})
    assert (reply.status, reply.body["code"], reply.body["applied"]) == (409, "status_forbids", ["email"])


def test_a_card_that_stripe_does_not_have_is_refused_for_what_it_is(accounts: Accounts) -> None:
    reply = accounts.change("ann", {"stripe_source": "pm_of_nobody"})
    assert (reply.status, reply.body["code"]) == (409, "refused")
    assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == [
        ("/body/stripe_source", "resource_missing")
    ]
    declined = accounts.change("ann", {"stripe_source": "pm_card_chargeDeclined", "canceling": True})
    assert (declined.status, "applied" in declined.body) == (402, False)


def test_a_plan_whose_price_is_missing_is_refused_by_name(accounts: Accounts) -> None:
    price = accounts.stack.call_stripe("GET", "/v1/prices?lookup_keys[]=gold")["data"][0]["id"]
    accounts.stack.call_stripe("POST", f"/v1/prices/{price}", active="false")
    reply = accounts.change("ann", {"plan": "gold"})
    assert (reply.status, reply.body["code"]) == (503, "plan_unusable")


def test_a_path_tells_the_methods_that_it_has(accounts: Accounts) -> None:
    for path, more in (("/subscriptions/ann", {"PATCH", "DELETE"}), ("/subscriptions", {"POST"})):
        reply = ask(accounts, path, ADMIN.token, "PUT")
        assert (reply.status, set(reply.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"} | more)


def test_a_subscription_with_several_prices_is_changed_at_stripe(accounts: Accounts) -> None:
    price = accounts.stack.call_stripe("GET", "/v1/prices?lookup_keys[]=gold")["data"][0]["id"]
    accounts.at_stripe_do("ann", **{"items[0][price]": price})
    reply = accounts.change("ann", {"plan": "pro"})
    assert (reply.status, reply.body["code"]) == (409, "several_items")
    wait_until(lambda: accounts.rows()[0]["state"] == "failed")

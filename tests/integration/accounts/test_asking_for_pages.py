"""Who may be sent to which page of Stripe's, and what is told of it: before Stripe is asked for anything."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, NewAccounts, token_of
from tests.integration.accounts.paying import CANCEL, body, opened
from tests.integration.accounts.test_asking import CHANGE, WHO
from tests.integration.web.callers import ask

READ = {"nobody": 401, "a forger": 401, "another user": 403, "a token of another deployment": 401}
CARD = {"user_id": "ann", "return_url": CANCEL}
PORTAL = {**CARD, "intent": "update"}


def errors(reply: Any) -> list[tuple[str, str]]:
    assert (reply.status, reply.body["code"]) == (400, "parameters_wrong"), reply.body
    return [(each["pointer"], each["code"]) for each in reply.body["errors"]]


def test_who_may_open_pages_and_read_what_came_of_them(accounts: Accounts) -> None:
    """Those who may are told what is wrong."""
    page = opened(accounts)
    before = len(accounts.rows())
    for who, token in WHO.items():
        asked = [
            ask(accounts, "/billing/subscriptions", token, "POST", body(success_url="https://evil.example/")),
            ask(accounts, "/billing/payment-methods/setup", token, "POST", {**CARD, "return_url": ""}),
            ask(accounts, "/billing/subscriptions/manage", token, "POST", {**PORTAL, "intent": "nothing"}),
        ]
        assert [reply.status for reply in asked] == [CHANGE.get(who, 400)] * 3, who
        reply = ask(accounts, page.headers["Location"], token)
        assert (reply.status, "url" in (reply.body or {})) == (READ.get(who, 200), who not in READ), who
    assert len(accounts.rows()) == before
    for named in ("cs_nothing", "nothing", "00000000-0000-0000-0000-000000000000"):
        assert ask(accounts, f"/billing/checkouts/{named}", ADMIN.token).body["code"] == "no_checkout"
        assert ask(accounts, f"/billing/checkouts/{named}", token_of("ann")).status == 403
    session = accounts.stack.rows("SELECT stripe_session_id AS id FROM checkouts")[0]["id"]
    assert ask(accounts, f"/billing/checkouts/{session}", token_of("ann")).body["id"] == page.body["id"]


@pytest.mark.parametrize(
    "url",
    [
        "", 7, None, "app.example.com", "https://app.example.com.evil.example/", "https://app.example.com@evil.example/",
        "https://evil.example\\@app.example.com/", "https://app.example.com:444/", "http://app.example.com/",
        "https://app.example.com/\n", "https://app.example.com/ü", "javascript:alert(1)", "//app.example.com/",
        f"https://app.example.com/{'x' * 2048}",
    ],
)  # fmt: skip
def test_pages_lead_back_to_the_websites_that_are_listed_alone(accounts: Accounts, url: object) -> None:
    for name in ("success_url", "cancel_url"):
        reply = accounts.post("/billing/subscriptions", body("ann", "pro", **{name: url}))
        assert errors(reply) == [(f"/body/{name}", "origin_not_allowed")]
    assert errors(accounts.post("/billing/payment-methods/setup", {**CARD, "return_url": url})) == [
        ("/body/return_url", "origin_not_allowed")
    ]
    assert accounts.rows() == []


def test_what_of_a_request_is_wrong_is_told_by_json_pointers(accounts: Accounts) -> None:
    wrong = {"plan": "free", "more": 1, "user_id": "ann"}
    assert errors(accounts.post("/billing/subscriptions", wrong, token_of("ann"))) == [
        ("/body/cancel_url", "origin_not_allowed"), ("/body/more", "unknown"), ("/body/plan", "not_acceptable"),
        ("/body/success_url", "origin_not_allowed"),
    ]  # fmt: skip
    for user in ("", 7, None, "x" * 256):
        assert errors(accounts.post("/billing/subscriptions", body(user_id=user))) == [("/body/user_id", "not_an_id")]
    assert errors(accounts.post("/billing/subscriptions/manage", {**PORTAL, "intent": [], "subscription_id": ""})) == [
        ("/body/intent", "unknown"), ("/body/subscription_id", "not_an_id"),
    ]  # fmt: skip
    assert errors(accounts.post("/billing/subscriptions", body(), Idempotency_Key="a b")) == [
        ("/header/Idempotency-Key", "malformed")
    ]


def test_free_plans_are_for_admins_to_give(accounts: Accounts) -> None:
    assert accounts.post("/billing/subscriptions", body(plan="free"), token_of("ann")).status == 400
    assert accounts.post("/billing/subscriptions", body(plan="free")).status == 201


def test_who_has_no_customer_or_is_still_signing_up_is_told_so(accounts: Accounts) -> None:
    accounts.stack.rows(
        "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES ('new', 'pending', now(), 0)"
    )
    for user, code in (("new", "signup_unfinished"), ("nobody", "no_customer")):
        for path, asked in (
            ("/billing/subscriptions", body(user)),
            ("/billing/payment-methods/setup", {**CARD, "user_id": user}),
            ("/billing/subscriptions/manage", {**PORTAL, "user_id": user}),
        ):
            reply = accounts.post(path, asked)
            assert (reply.status, reply.body["code"]) == (409, code)
    assert accounts.stack.rows("SELECT 1 FROM checkouts") == accounts.rows() == []


def test_a_customer_that_was_deleted_at_stripe_is_told(accounts: Accounts) -> None:
    accounts.stack.call_stripe("DELETE", f"/v1/customers/{accounts.customer('ann')['id']}")
    reply = accounts.post("/billing/subscriptions", body())
    assert (reply.status, reply.body["code"]) == (409, "customer_gone")
    assert accounts.stack.rows("SELECT state, code FROM checkouts") == [{"state": "failed", "code": "customer_gone"}]


def test_a_key_that_may_not_open_pages_keeps_nobody_else_waiting(accounts: Accounts) -> None:
    accounts.stack.control.fault("status", match={"path": "/v1/checkout/sessions"}, status=403)
    reply = accounts.post("/billing/subscriptions", body())
    assert (reply.status, reply.body["code"]) == (503, "not_permitted")
    assert accounts.change("ann", {"plan": "pro"}).status == 200


def test_without_a_key_no_page_is_opened(new_accounts: NewAccounts) -> None:
    accounts = new_accounts(STRIPE_SECRET_KEY="")
    reply = accounts.post("/billing/subscriptions", body())
    assert (reply.status, reply.body["code"]) == (503, "billing-disabled")

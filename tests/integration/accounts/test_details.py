"""PATCH /billing/customers/{user_id}: what is on the bills becomes Stripe's, once, and stays nowhere here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.accounts.conftest import ADMIN, Accounts, signed_up, token_of
from tests.integration.provisioning.test_privacy import dump
from tests.integration.web.callers import Reply, ask
from tests.support.waiting import wait_until

VAT, OTHER = {"type": "eu_vat", "value": "DE123456789"}, {"type": "eu_vat", "value": "FR12345678901"}
WRONG = {"type": "eu_vat", "value": "nonsense"}
EMPTY = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def path(user_id: str = "ann") -> str:
    return f"/billing/customers/{user_id}"


def change(accounts: Accounts, body: object, token: str | None = None, **headers: str) -> Reply:
    return ask(accounts, path(), token or token_of("ann"), "PATCH", body, **headers)


def shown(accounts: Accounts) -> Any:
    return ask(accounts, path(), token_of("ann")).body


def writes(accounts: Accounts) -> list[str]:
    customer = accounts.customer("ann")["id"]
    asked = [each for each in accounts.stack.control.requests() if each["method"] != "GET"]
    return [each["path"].rpartition(customer)[2] for each in asked if customer in each["path"]]


def test_name_address_and_tax_ids_are_stripes(accounts: Accounts) -> None:
    body = {"name": "Qzname", "address": {"line1": "Qzline", "country": "DE"}, "tax_ids": [VAT, OTHER]}
    with capture_logs() as lines:
        reply = change(accounts, body)
    assert (reply.status, reply.body) == (204, None)
    found = shown(accounts)
    assert (found["name"], found["address"]) == ("Qzname", {**EMPTY, "line1": "Qzline", "country": "DE"})
    assert sorted(each["value"] for each in found["tax_ids"]) == [VAT["value"], OTHER["value"]]
    said = json.dumps(lines, default=str) + dump(accounts.stack)
    assert [word for word in ("Qzname", "Qzline", VAT["value"], OTHER["value"]) if word in said] == []
    assert "account_change.applied" in said
    (row,) = accounts.rows()
    assert (row["state"], row["sealed_email"], row["kind"]) == ("applied", None, "details")


def test_what_is_left_out_stays_and_null_clears(accounts: Accounts) -> None:
    change(accounts, {"name": "Ann", "address": {"line1": "1", "city": "Berlin"}, "tax_ids": [VAT]})
    assert change(accounts, {"address": {"line1": "2"}}).status == 204
    assert shown(accounts)["address"] == {**EMPTY, "line1": "2"}, "an address is one"
    assert (shown(accounts)["name"], shown(accounts)["tax_ids"]) == ("Ann", [VAT])
    assert change(accounts, {"address": None, "name": None, "tax_ids": []}).status == 204
    assert {name: shown(accounts)[name] for name in ("name", "address", "tax_ids")} == {
        "name": None, "address": None, "tax_ids": [],
    }  # fmt: skip


def test_tax_ids_that_are_there_are_not_asked_for_and_others_go(accounts: Accounts) -> None:
    change(accounts, {"tax_ids": [VAT]})
    before = writes(accounts)
    assert change(accounts, {"tax_ids": [{"type": "eu_vat", "value": "de 123 456 789"}]}).status == 204
    assert writes(accounts) == before
    assert change(accounts, {"tax_ids": [OTHER]}).status == 204
    (added, dropped) = writes(accounts)[len(before) :]
    assert (added, dropped.startswith("/tax_ids/txi_")) == ("/tax_ids", True)
    assert shown(accounts)["tax_ids"] == [OTHER]


def test_a_tax_id_that_stripe_refuses_is_the_askers_error_and_nothing_is_taken_away(accounts: Accounts) -> None:
    change(accounts, {"tax_ids": [VAT]})
    reply = change(accounts, {"name": "Ann", "tax_ids": [OTHER, WRONG]}, Idempotency_Key="k")
    assert (reply.status, reply.body["code"], reply.body["applied"]) == (400, "details_refused", ["name"])
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == [
        ("/body/tax_ids/1/value", "tax_id_invalid")
    ]
    assert [each["value"] for each in shown(accounts)["tax_ids"]] == [OTHER["value"], VAT["value"]]
    before = len(accounts.stack.control.requests())
    again = change(accounts, {"name": "Ann", "tax_ids": [OTHER, WRONG]}, Idempotency_Key="k")
    assert (again.status, again.body, len(accounts.stack.control.requests())) == (400, reply.body, before)
    other = change(accounts, {"name": "Bob", "tax_ids": [OTHER, WRONG]}, Idempotency_Key="k")
    assert (other.status, other.body["code"]) == (422, "key_reused")


@pytest.mark.parametrize("suffix", ["", "/tax_ids"])
def test_an_answer_that_is_lost_changes_nothing(accounts: Accounts, suffix: str) -> None:
    where = f"/v1/customers/{accounts.customer('ann')['id']}{suffix}"
    accounts.stack.control.fault("drop", match={"path": where, "method": "POST"}, times=1, when="after")
    assert change(accounts, {"name": "Ann", "tax_ids": [VAT]}).status == 204
    assert (shown(accounts)["name"], shown(accounts)["tax_ids"]) == ("Ann", [VAT])
    keys = [each["idempotency_key"] for each in accounts.stack.requests("POST", where)]
    assert len(set(keys)) == 1


def test_a_deletion_that_somebody_else_was_quicker_with_is_one(accounts: Accounts) -> None:
    change(accounts, {"tax_ids": [VAT]})
    customer = accounts.customer("ann")["id"]
    (there,) = accounts.stack.call_stripe("GET", f"/v1/customers/{customer}/tax_ids")["data"]
    lost = {"path": f"/v1/customers/{customer}/tax_ids/{there['id']}", "method": "DELETE"}
    accounts.stack.control.fault("drop", match=lost, times=1, when="after")
    assert change(accounts, {"tax_ids": []}).status == 204
    assert shown(accounts)["tax_ids"] == []


def test_what_takes_too_long_is_told_of_later(accounts: Accounts) -> None:
    accounts.stack.control.fault("status", match={"method": "POST"}, status=503, times=4, when="before")
    change(accounts, {"name": "Ann"}, Idempotency_Key="k")
    wait_until(lambda: accounts.rows()[0]["state"] == "applied", 30)
    told = ask(accounts, f"/account-changes/{accounts.rows()[0]['id']}", token_of("ann")).body
    assert (told["kind"], told["state"], told["applied"]) == ("details", "applied", ["name"])
    assert change(accounts, {"name": "Ann"}, Idempotency_Key="k").status == 204


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"name": ""}, [("/body/name", "wrong_type")]),
        ({"name": "x" * 257, "phone": "1"}, [("/body/name", "wrong_type"), ("/body/phone", "unknown")]),
        ({"address": {"country": "Germany", "street": "x", "city": 1}},
         [("/body/address/city", "wrong_type"), ("/body/address/country", "not_a_country"),
          ("/body/address/street", "unknown")]),
        ({"tax_ids": [VAT, {**VAT, "value": "DE 123456789"}, {"type": "eu_vat"}, "x", {**OTHER, "id": "txi_1"}]},
         [("/body/tax_ids/1", "repeated"), ("/body/tax_ids/2/value", "wrong_type"), ("/body/tax_ids/3", "wrong_type"),
          ("/body/tax_ids/4/id", "unknown")]),
        ({"tax_ids": [{"type": "eu_vat", "value": f"DE{n}"} for n in range(6)]}, [("/body/tax_ids", "wrong_type")]),
    ],
)  # fmt: skip
def test_what_cant_be_asked_for_is_told_by_pointers(
    accounts: Accounts, body: object, errors: list[tuple[str, str]]
) -> None:
    reply = change(accounts, body)
    assert (reply.status, reply.body["code"]) == (400, "parameters_wrong")
    assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == errors
    assert accounts.rows() == []


def test_only_the_user_and_admins_may_and_only_who_has_a_customer(accounts: Accounts) -> None:
    body = {"name": "Ann"}
    told = [change(accounts, body, who).status for who in (token_of("eve"), token_of("eve", "subscriptions:read"))]
    assert (told, change(accounts, body, ADMIN.token).status) == ([403, 403], 204)
    assert change(accounts, {}).body["code"] == "empty_change"
    assert ask(accounts, path(), None, "PATCH", body).status == 401
    nobody = ask(accounts, path("nobody"), ADMIN.token, "PATCH", body)
    assert (nobody.status, nobody.body["code"]) == (409, "no_customer")


def test_a_customer_that_is_gone_at_stripe_is_told_of(accounts: Accounts) -> None:
    signed_up(accounts.stack, "bob")
    accounts.stack.call_stripe("DELETE", f"/v1/customers/{accounts.customer('bob')['id']}")
    for body in ({"name": "Bob"}, {"tax_ids": [VAT]}):
        reply = ask(accounts, path("bob"), token_of("bob"), "PATCH", body)
        assert (reply.status, reply.body["code"]) == (409, "customer_gone")


def test_without_a_key_nothing_can_be_asked_for(new_accounts: Any) -> None:
    reply = change(new_accounts(STRIPE_SECRET_KEY=""), {"name": "Ann"})
    assert (reply.status, reply.body["code"]) == (503, "billing-disabled")

"""`subkeeper owners` and `subkeeper subscriptions list`, as people run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Accounts, signed_up
from tests.integration.accounts.test_owners import metadata, owners, subscribe
from tests.integration.web.callers import subscribe as subscribed
from tests.support.commands import Commands
from tests.support.stack import Stack


@pytest.fixture
def run(deployment: Stack, tmp_path: Path) -> Commands:
    return Commands(deployment, tmp_path)


@pytest.fixture
def anns(deployment: Stack) -> str:
    return str(deployment.ledger("ann")["stripe_customer_id"])


def test_roles_are_given_shown_and_taken_away_as_by_the_api(run: Commands, accounts: Accounts, anns: str) -> None:
    signed_up(accounts.stack, "bob")
    added = run("owners", "add", anns, "--user", "bob", "--role", "payer", "--json")
    assert (added.code, added.err) == (0, "")
    text = run("owners", "add", anns, "--project", "p", "--role", "member").out
    assert [line.split()[:2] for line in text.splitlines()[:4]] == [
        ["customer:", anns], ["user_id:", "-"], ["project_id:", "p"], ["role:", "member"],
    ]  # fmt: skip
    listed = run("owners", "list", anns, "--json").json
    assert listed == owners(accounts).body["owners"]
    assert added.json == [listed[2]]
    assert run("owners", "list", anns).out == (
        f"customer\tkind\towner\trole\n{anns}\tproject\tp\tmember\n{anns}\tuser\tann\tpayer\n{anns}\tuser\tbob\tpayer\n"
    )
    assert run("owners", "list", "--project", "p", "--json").json == [listed[0]]
    assert [each["role"] for each in run("owners", "list", "--user", "bob", "--json").json] == ["payer", "payer"]
    removed = run("owners", "remove", anns, "--user", "bob")
    assert (removed.code, removed.out, removed.err) == (0, "removed\n", "")
    (told,) = run("owners", "remove", anns, "--project", "p", "--json").json
    assert told == {"customer": anns, "user_id": None, "project_id": "p", "role": None}
    assert len(run("owners", "list", anns, "--json").json) == 1


def test_a_list_that_is_cut_says_so(run: Commands, deployment: Stack, anns: str) -> None:
    for project in ("p", "q"):
        assert run("owners", "add", anns, "--project", project, "--role", "member").code == 0
    cut = run("owners", "list", anns, "--limit", "2", "--json")
    assert ([each["project_id"] for each in cut.json], cut.err) == (["p", "q"], "Only the first 2: raise --limit.\n")
    assert run("owners", "list", anns, "--limit", "3").err == ""
    subscribed(deployment.database_url, "new")
    cut = run("subscriptions", "list", "--limit", "1", "--json")
    assert [each["user_id"] for each in cut.json] == ["new"]
    assert cut.err == "Only the newest 1: narrow it, or raise --limit.\n"


def test_what_the_api_refuses_is_refused_in_its_words(run: Commands, accounts: Accounts, anns: str) -> None:
    run("owners", "add", anns, "--project", "p", "--role", "member")
    subscribe(accounts, **metadata(accounts, "p"))
    said = run("owners", "remove", anns, "--project", "p", "--json")
    told = "this owner has subscriptions there that haven't ended"
    assert (said.code, said.err) == (1, f"subkeeper: owns_subscriptions: {told}\n")
    assert said.json[0]["problem"]["code"] == "owns_subscriptions"
    missing = "subkeeper: no_customer: there is no such customer (any more)\n"
    for words in (
        ["list", "cus_x"], ["add", "cus_x", "--user", "bob", "--role", "payer"], ["remove", "cus_x", "--user", "bob"],
    ):  # fmt: skip
        refused = run("owners", *words, "--json")
        assert (refused.code, refused.err) == (1, missing)
        assert refused.json[0]["problem"]["code"] == "no_customer"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["list"], "--user"),
        (["list", "cus_1", "--user", "ann"], "--user"),
        (["list", "--user", "ann", "--project", "p"], "--project"),
        (["list", ""], "CUSTOMER"),
        (["list", "--limit", "0", "cus_1"], "--limit"),
        (["list", "--project", "x" * 256], "--project"),
        (["add", "cus_1", "--role", "payer"], "--user"),
        (["add", "cus_1", "--user", "a", "--project", "b", "--role", "payer"], "--project"),
        (["add", "cus_1", "--user", "a"], "--role"),
        (["add", "cus_1", "--user", "a", "--role", "owner"], "--role"),
        (["add", "cus_1", "--user", "", "--role", "payer"], "--user"),
        (["add", "x" * 256, "--user", "a", "--role", "payer"], "CUSTOMER"),
        (["remove", "cus_1"], "--user"),
        (["remove"], "CUSTOMER"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_named(run: Commands, words: list[str], named: str) -> None:
    said = run("owners", *words)
    assert (said.code, said.out, named in said.err.partition("Error: ")[2]) == (2, "", True), said.err


def test_a_list_of_owners_fits_a_terminal(run: Commands, deployment: Stack, anns: str) -> None:
    user, project = "0b8f6a1e-52c4-4d39-9d5f-7c3a1e2b4d6f", "6f1d2c3b-4a59-4687-8765-43210fedcba9"
    signed_up(deployment, user)
    run("owners", "add", anns, "--user", user, "--role", "payer")
    run("owners", "add", anns, "--project", project, "--role", "member")
    for words in (["list", anns], ["add", anns, "--user", user, "--role", "payer"]):
        shown = run.on_a_terminal("owners", *words)
        assert shown.code == 0
        assert [line for line in shown.out.splitlines() if len(line.rstrip()) > 80 and " " in line.strip()] == []


def test_subscriptions_are_listed_by_plan_status_and_project(run: Commands, accounts: Accounts, anns: str) -> None:
    subscribed(accounts.stack.database_url, "u-1", "past_due", "pro")
    run("owners", "add", anns, "--project", "p", "--role", "member")
    made = subscribe(accounts, **metadata(accounts, "p"))

    def listed(*words: str) -> list[str]:
        return [each["user_id"] or each["project_id"] for each in run("subscriptions", "list", *words, "--json").json]

    assert listed() == ["p", "u-1", "ann"]
    assert listed("--status", "past_due", "--status", "unpaid") == ["u-1"]
    assert listed("--plan", "pending") == ["p", "ann"]
    assert listed("--project", "p", "--status", "trialing") == ["p"]
    assert listed("--project", "q") == []
    text = run("subscriptions", "list", "--project", "p").out
    assert text == f"subscription\tuser\tproject\tplan\tstatus\n{made}\t-\tp\tpending\ttrialing\n"
    assert run("subscriptions", "list", "--status", "paid").code == 2
    assert run("subscriptions", "list", "--plan", "none").err == "none\n"

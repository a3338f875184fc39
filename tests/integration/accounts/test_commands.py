"""`subkeeper subscriptions`, as people run it."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts
from tests.integration.web.callers import ask
from tests.support.commands import Commands
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.web.api import app

HELD = (
    "INSERT INTO account_changes (id, kind, user_id, caller, digest, steps, wanted, lease_token, due_at)"
    " VALUES (gen_random_uuid(), 'update', 'ann', 'test', '', '{end}', '{}', 1, now() + interval '1 hour')"
)
"""A change of ann's that another process is at."""


@pytest.fixture
def run(deployment: Stack, tmp_path: Path) -> Commands:
    return Commands(deployment, tmp_path)


def test_a_subscription_is_shown_as_it_is(run: Commands) -> None:
    shown = run("subscriptions", "get", "ann")
    assert (shown.code, "plan: " in shown.out, "trialing" in shown.out) == (0, True, True)
    assert shown.out == run("subscriptions", "set", "ann", "--plan", "pending").out, "times too"
    (row,) = run("subscriptions", "get", "ann", "--json").json
    assert (row["user_id"], row["plan"], row["version"]) == ("ann", "pending", 1)


def test_a_subscription_is_told_as_the_api_tells_it(run: Commands, accounts: Accounts) -> None:
    (row,) = run("subscriptions", "get", "ann", "--json").json
    assert row == accounts.read("ann").body
    (listed,) = run("subscriptions", "list", "--json").json
    assert listed == row
    (changed,) = run("subscriptions", "cancel", "ann", "--json").json
    assert changed == accounts.read("ann").body
    failed = run("subscriptions", "set", "ann", "--card", "pm_card_chargeDeclined", "--json").json[0]
    assert failed == ask(accounts, f"/account-changes/{failed['id']}", ADMIN.token).body


MISSING = "subkeeper: no_subscription: the user has none (yet)\n"


def test_all_that_is_refused_is_said_in_one_form(run: Commands) -> None:
    for words in (
        ["get", "nobody"],
        ["cancel", "nobody"],
        ["set", "nobody", "--plan", "pro"],
        ["delete", "nobody", "--yes"],
    ):
        said = run("subscriptions", *words)
        assert (said.code, said.out, said.err) == (1, "", MISSING), words
        as_json = run("subscriptions", *words, "--json")
        assert (as_json.code, as_json.err) == (1, MISSING), words
        (problem,) = [each["problem"] for each in as_json.json]
        told = {"code": "no_subscription", "detail": "the user has none (yet)", "errors": [], "applied": []}
        assert problem == told
    for words in (["get", ""], ["cancel", "x" * 256], ["set", "", "--plan", "pro"], ["delete", "", "--yes"]):
        said = run("subscriptions", *words)
        assert (said.code, "Invalid value for 'USER'" in said.err) == (2, True), words


def test_changes_are_made_by_the_same_rows_and_rules(run: Commands, deployment: Stack) -> None:
    card = ("--card", "pm_card_visa", "--email", "ann@new.example")
    (row,) = run("subscriptions", "set", "ann", "--plan", "free", *card, "--json").json
    assert row["plan"] == "free", "which is for admins to give"
    (row,) = run("subscriptions", "cancel", "ann", "--json").json
    assert row["canceling"] is True
    (row,) = run("subscriptions", "cancel", "ann", "--undo", "--json").json
    assert (row["canceling"], deployment.customers("ann")[0]["email"]) == (False, "ann@new.example")
    rows = deployment.rows("SELECT caller, state, sealed_email FROM account_changes")
    assert [tuple(each.values()) for each in rows] == [("command line", "applied", None)] * 3


def test_what_is_refused_says_why(run: Commands) -> None:
    plan = run("subscriptions", "set", "ann", "--plan", "silver", "--email", "ann")
    assert plan.code == 2
    assert "--email: is not an email address of 512 characters at most; --plan: there is none" in plan.err
    assert "--card: is not the id of a payment method" in run("subscriptions", "set", "ann", "--card", "tok_visa").err
    assert run("subscriptions", "set", "ann").code == 2
    card = run("subscriptions", "set", "ann", "--card", "pm_card_chargeDeclined", "--json")
    assert (card.code, card.json[0]["problem"]["code"]) == (1, "card_declined")
    assert card.err == "subkeeper: card_declined: the card was declined; --card: card_declined\n"
    assert run("subscriptions", "cancel", "ann", STRIPE_SECRET_KEY="").code == 2


def test_it_is_deleted_for_good_after_a_yes(run: Commands, deployment: Stack) -> None:
    assert run("subscriptions", "delete", "ann").code == 2, "there is nobody to ask"
    assert run.on_a_terminal("subscriptions", "delete", "ann", typed=b"n\n").code == 1
    deleted = run("subscriptions", "delete", "ann", "--yes")
    assert (deleted.code, deleted.out) == (0, "removed\n")
    assert deployment.rows("SELECT user_id FROM subscription_tombstones") == [{"user_id": "ann"}]
    assert deployment.subscriptions("ann")[0]["status"] == "canceled"


def test_what_was_asked_before_is_done_first(
    run: Commands, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process has died with it: whoever comes next goes on."""
    accounts.stack.control.fault("status", match={"method": "POST"}, status=503)
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.2)
    assert accounts.change("ann", {"plan": "pro"}).status == 202
    accounts.worker.stop()
    accounts.stack.control.clear_faults()
    accounts.stack.rows("UPDATE account_changes SET due_at = now()")
    (row,) = run("subscriptions", "cancel", "ann", "--json").json
    assert (row["plan"], row["canceling"]) == ("pro", True)


def test_a_user_is_erased_after_a_yes(run: Commands, deployment: Stack) -> None:
    assert run("erase", "ann").code == 2, "there is nobody to ask"
    assert run.on_a_terminal("erase", "ann", typed=b"n\n").code == 1
    assert deployment.ledger("ann")["state"] == "completed"
    erased = run("erase", "ann", "--yes")
    assert (erased.code, "erased" in erased.out, "Stripe keeps:\n- invoices" in erased.out) == (0, True, True)
    assert deployment.customers("ann") == []
    (again,) = run("erase", "ann", "--yes", "--json").json
    assert (again["state"], again["waits_for"]) == ("erased", None)
    assert "erased" in run("explain", "ann").out
    assert run("subscriptions", "cancel", "ann").err.startswith("subkeeper: erased: ")


def test_who_is_unknown_is_said_before_an_id_is_lost(run: Commands, deployment: Stack) -> None:
    asked = run.on_a_terminal("erase", "an", typed=b"n\n")
    assert asked.code == 1
    assert asked.out.index("nothing is known here of an; ") < asked.out.index("Cancel all that an has")
    assert deployment.rows("SELECT user_id FROM provisionings") == [{"user_id": "ann"}]
    assert "nothing is known" not in run.on_a_terminal("erase", "ann", typed=b"n\n").out
    erased = run("erase", "an", "--yes")
    assert (erased.code, erased.err.startswith("subkeeper: nothing is known here of an; ")) == (0, True)
    assert run("erase", "an", "--yes").err == "", "that it was erased is known"


def test_what_is_interrupted_is_not_taken_back(run: Commands, deployment: Stack) -> None:
    deployment.rows(HELD)
    process = run.start("subscriptions", "cancel", "ann")
    wait_until(lambda: len(deployment.rows("SELECT 1 FROM account_changes WHERE user_id = 'ann'")) == 2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.startswith(b"subkeeper: interrupted; what was asked for may go on in a web process: ")


def test_a_sealing_key_that_is_missing_is_the_one_that_others_have(run: Commands) -> None:
    said = run("erase", "ann", "--yes", SUBKEEPER_SECRET_KEY="")
    assert (said.code, "Give the key that all processes of this deployment have" in said.err) == (2, True)


def test_the_times_of_a_timeline_are_all_alike(run: Commands) -> None:
    run("subscriptions", "cancel", "ann")
    told = run("explain", "ann").out
    assert re.search(r"trial_end: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", told)
    assert not re.search(r"\dT\d\d:", told)


def test_a_long_wait_says_what_it_is_for(run: Commands, deployment: Stack) -> None:
    deployment.rows(HELD)
    with ThreadPoolExecutor(1) as person:
        asked = person.submit(run.on_a_terminal, "subscriptions", "cancel", "ann")
        wait_until(lambda: len(deployment.rows("SELECT 1 FROM account_changes WHERE user_id = 'ann'")) == 2)
        # Held until it was said: three seconds of the database's clock, which runs as that of the command does.
        deployment.rows("SELECT pg_sleep(4)")
        deployment.rows("DELETE FROM account_changes WHERE caller = 'test'")
        said = asked.result(timeout=120)
    assert (said.code, "subkeeper: waiting, for a minute at most, for Stripe" in said.out) == (0, True)

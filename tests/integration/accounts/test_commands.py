"""`subkeeper subscriptions`, as people run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Accounts
from tests.support.commands import Commands
from tests.support.stack import Stack
from worker.web.api import app


@pytest.fixture
def run(deployment: Stack, tmp_path: Path) -> Commands:
    return Commands(deployment, tmp_path)


def test_a_subscription_is_shown_as_it_is(run: Commands) -> None:
    shown = run("subscriptions", "get", "ann")
    assert (shown.code, "plan: " in shown.out, "trialing" in shown.out) == (0, True, True)
    assert shown.out == run("subscriptions", "set", "ann", "--plan", "pending").out, "times too"
    (row,) = run("subscriptions", "get", "ann", "--json").json
    assert (row["user_id"], row["plan"], row["version"]) == ("ann", "pending", 1)
    missing = run("subscriptions", "get", "nobody")
    assert (missing.code, missing.err) == (1, "subkeeper: the user 'nobody' has no subscription\n")


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
    assert (card.code, card.json[0]["error"]["code"]) == (1, "card_declined")
    assert card.err == "subkeeper: the card was declined (card_declined); --card: card_declined\n"
    missing = run("subscriptions", "cancel", "nobody")
    assert (missing.code, missing.err) == (1, "subkeeper: no_subscription: the user has none (yet)\n")
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

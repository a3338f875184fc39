"""How many subscriptions there are, over HTTP and for people."""

from __future__ import annotations

from pathlib import Path

from tests.integration.accounts.conftest import ADMIN, Accounts, token_of
from tests.integration.web.callers import ask
from tests.support.commands import Commands
from tests.support.stack import Stack


def test_the_numbers_are_told_to_whom_may_read_all(accounts: Accounts) -> None:
    told = ask(accounts, "/stats", ADMIN.token)
    assert told.body == {
        "subscriptions": 1, "canceling": 0, "failing": 0, "trials_ending": 0,
        "by_plan": {"pending": 1}, "by_status": {"trialing": 1},
    }  # fmt: skip
    assert ask(accounts, "/stats", token_of("svc", "subscriptions:read")).status == 200
    assert ask(accounts, "/stats", token_of("ann")).status == 403
    accounts.change("ann", {"canceling": True})
    assert ask(accounts, "/stats", ADMIN.token).body["canceling"] == 1


def test_they_are_shown_compared_and_corrected(deployment: Stack, tmp_path: Path) -> None:
    run = Commands(deployment, tmp_path)
    assert run("stats", "--json").json[0]["by_status"] == {"trialing": 1}
    told = run("stats").out
    assert "status trialing:" in told
    assert "trials ending within 7 days:" in told
    right = run("stats", "--check")
    assert (right.code, right.err) == (0, "subkeeper: every subscription is counted right\n")
    deployment.rows("DELETE FROM subscription_counts")
    wrong = run("stats", "--check")
    assert (wrong.code, wrong.err) == (1, "subkeeper: one kind of subscriptions miscounted; --repair corrects that\n")
    [row] = run("stats", "--check", "--json").json
    assert (row["plan"], row["status"], row["counted"], row["rows"]) == ("pending", "trialing", 0, 1)
    assert run("stats", "--repair").code == 0
    assert run("stats", "--check").code == 0

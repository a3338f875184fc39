"""The rules of changes that users and admins ask for fire in the states that they are for."""

from __future__ import annotations

from pathlib import Path

from tests.alerts.monitor import Monitor
from tests.integration.accounts.conftest import Accounts, accounts, deployment, new_accounts
from tests.support.waiting import wait_until

__all__ = ["accounts", "deployment", "new_accounts"]


def watched(accounts: Accounts) -> Monitor:
    wait_until(lambda: "\nsubkeeper_account_changes_unopenable 0" in accounts.worker.get("/metrics")[1])
    monitor = Monitor({"a": accounts.worker})
    monitor.scrape(minutes=20)
    assert monitor.firing() == set()
    return monitor


def asked(accounts: Accounts, age: str, sealed: str | None = None) -> None:
    """A change of ann's that was asked for so long ago, and that isn't due yet."""
    accounts.stack.rows(
        "INSERT INTO account_changes"
        " (id, kind, user_id, caller, digest, steps, wanted, sealed_email, created_at, due_at)"
        " VALUES (gen_random_uuid(), 'update', 'ann', 'admin', '', '{email}', '{}', decode(%s, 'hex'),"
        " now() - CAST(%s AS interval), now() + interval '1 day')",
        sealed,
        age,
    )


def test_a_change_that_does_not_end_is_told(accounts: Accounts, tmp_path: Path) -> None:
    monitor = watched(accounts)
    asked(accounts, "1 hour")
    wait_until(lambda: accounts.worker.metric("subkeeper_account_changes_oldest_age_seconds") > 3000)
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperAccountChangesWait"}
    monitor.agree_with_promtool(tmp_path)


def test_a_change_that_no_process_can_open_pages(accounts: Accounts, tmp_path: Path) -> None:
    monitor = watched(accounts)
    asked(accounts, "0 s", sealed="0100000000")
    wait_until(lambda: accounts.worker.metric("subkeeper_account_changes_unopenable") == 1)
    monitor.scrape(minutes=11)
    assert monitor.firing() == {"SubkeeperAccountChangesWaitForAKey"}
    monitor.agree_with_promtool(tmp_path)


def test_a_second_subscription_that_was_canceled_is_told_for_a_refund(accounts: Accounts, tmp_path: Path) -> None:
    monitor = watched(accounts)
    accounts.stack.rows(
        "INSERT INTO checkouts (id, user_id, plan, mode, stripe_session_id, state, code, ended_at)"
        " VALUES (gen_random_uuid(), 'ann', 'pro', 'subscription', 'cs_1', 'failed', 'second_subscription', now())"
    )
    wait_until(lambda: accounts.worker.metric("subkeeper_checkouts_to_refund") == 1)
    monitor.scrape()
    assert monitor.firing() == {"SubkeeperSubscribedTwice"}
    accounts.stack.rows("UPDATE checkouts SET ended_at = now() - interval '2 days'")
    wait_until(lambda: accounts.worker.metric("subkeeper_checkouts_to_refund") == 0)
    monitor.scrape(minutes=16)
    assert monitor.firing() == set()
    monitor.agree_with_promtool(tmp_path)

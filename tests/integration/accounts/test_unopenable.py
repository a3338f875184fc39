"""A change whose email is sealed under a key that is lost: it is counted, told once, and ended by a person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.integration.accounts.conftest import ADMIN, Accounts
from tests.integration.web.callers import ask
from tests.support.commands import Commands
from tests.support.waiting import wait_until
from worker.sealing import Sealer

LOST_KEY = "a-key-that-nobody-has-any-more-of-32-characters-or-more"


@pytest.fixture
def run(accounts: Accounts, tmp_path: Path) -> Commands:
    return Commands(accounts.stack, tmp_path)


def sealed_for_nobody(accounts: Accounts, steps: str = "{email,plan}", done: int = 0, lease: str | None = None) -> str:
    """A change of ann's that a process with another key took in."""
    change_id = uuid4()
    accounts.stack.rows(
        """
        INSERT INTO account_changes
            (id, kind, user_id, caller, digest, steps, done, wanted, sealed_email, stripe_subscription_id,
             stripe_customer_id, lease_until)
        VALUES (%s, 'update', 'ann', 'admin', '', %s, %s, '{"plan": "gold"}', %s, %s, %s,
            now() + CAST(%s AS interval))
        """,
        change_id, steps, done, Sealer([LOST_KEY]).seal(b"ann@new.example", change_id.bytes), accounts.id_of("ann"),
        accounts.customer("ann")["id"], lease,
    )  # fmt: skip
    return str(change_id)


def test_it_is_failed_on_demand_who_asked_is_told_and_the_users_next_change_goes_on(
    accounts: Accounts, run: Commands
) -> None:
    with ThreadPoolExecutor(1) as threads, capture_logs() as lines:
        change_id = sealed_for_nobody(accounts)
        changing = threads.submit(accounts.change, "ann", {"plan": "pro"})
        wait_until(lambda: accounts.worker.metric("subkeeper_account_changes_unopenable") == 1)
        assert len(accounts.rows()) == 2
        assert {each["state"] for each in accounts.rows()} == {"pending"}, "the later one waits for its turn"
        assert run("quarantine", "unopenable", "--yes").out == "0 profiles set aside, 1 change failed\n"
        assert changing.result().status in {200, 202}
        wait_until(lambda: accounts.worker.metric("subkeeper_account_changes_unopenable") == 0)
    told = [each for each in lines if each["event"] == "account_changes.sealed"]
    assert [(each["changes"], each["log_level"]) for each in told] == [(1, "error")], "once"
    wait_until(lambda: accounts.read("ann").body["plan"] == "pro")
    told = ask(accounts, f"/account-changes/{change_id}", ADMIN.token).body
    assert (told["state"], told["applied"], told["problem"]["code"]) == ("failed", [], "key_lost")
    assert (told["problem"]["status"], "ask for it again" in told["problem"]["detail"]) == (503, True)
    assert not any(each["sealed_email"] for each in accounts.rows())
    assert accounts.customer("ann")["email"] == "ann@example.org"


def test_what_holds_of_it_is_told(accounts: Accounts, run: Commands) -> None:
    change_id = sealed_for_nobody(accounts, "{attach,default,own_default,email}", done=3)
    assert run("quarantine", "unopenable", "--yes").out.endswith("1 change failed\n")
    told = ask(accounts, f"/account-changes/{change_id}", ADMIN.token).body
    assert (told["state"], told["applied"]) == ("failed", ["stripe_source"])


def test_one_that_some_process_makes_just_now_is_left(accounts: Accounts, run: Commands) -> None:
    sealed_for_nobody(accounts, lease="1 hour")
    assert run("quarantine", "unopenable", "--yes").out == "0 profiles set aside, 0 changes failed\n"
    assert accounts.rows()[0]["state"] == "pending"

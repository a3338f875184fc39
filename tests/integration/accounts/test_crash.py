"""Postgres crashes while a change is made: what was asked of Stripe is known, and nobody is told what may be lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import psycopg
import pytest

from sandbox.postgres import PostgresServer
from tests.integration.accounts.conftest import DEPLOYMENT, Accounts, signed_up
from tests.integration.provisioning.conftest import NewStack
from tests.support.waiting import wait_until
from worker.accounts.leases import ChangeLease
from worker.accounts.steps import Steps
from worker.stripe_api.account_calls import AccountCalls
from worker.web.api import app

KEY = {"Idempotency-Key": "once"}


Crashing = tuple[PostgresServer, Accounts]


@pytest.fixture
def crashing(new_postgres: Callable[[], PostgresServer], new_stack: NewStack, quick_probes: None) -> Crashing:
    """A server of its own, on which nothing gets to the disk that nobody waits for; ann has signed up there."""
    server = new_postgres()
    short = {"SUBKEEPER_SETTLE__LEASE": "8", "SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "2"}
    own = {"database_url": server.create_database("subkeeper")} | short
    stack = new_stack(**cast("dict[str, Any]", DEPLOYMENT | own))
    stack.setup()
    signed_up(stack, "ann")
    with psycopg.connect(server.database_url(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        admin.execute("SELECT pg_reload_conf()")
    worker = stack.start_worker("web")
    wait_until(worker.is_ready)
    return server, Accounts(stack, worker)


def test_a_crash_while_stripe_is_asked_loses_nothing(crashing: Crashing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the commit that took the change in didn't wait for the disk: the one before the request did."""
    (server, accounts), update = crashing, AccountCalls.update_subscription
    known: list[dict[str, Any]] = []

    def crash(calls: AccountCalls, *arguments: Any, **named: Any) -> object:
        answer = update(calls, *arguments, **named)
        if not known:
            server.kill()
            server.start()
            known.extend(accounts.rows())
        return answer

    monkeypatch.setattr(AccountCalls, "update_subscription", crash)
    accounts.change("ann", {"canceling": True}, **KEY)
    assert [row["request"] for row in known] == [{"cancel_at_period_end": True}]
    wait_until(lambda: accounts.change("ann", {"canceling": True}, **KEY).status == 200, 30)
    assert accounts.at_stripe("ann")["cancel_at_period_end"]
    asked = accounts.stack.requests("POST", f"/v1/subscriptions/{accounts.id_of('ann')}")
    assert len({each["idempotency_key"] for each in asked}) == 1
    assert [row["state"] for row in accounts.rows()] == ["applied"]


def test_nobody_is_told_that_it_is_taken_in_what_a_crash_may_have_lost(
    crashing: Crashing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres crashes as soon as it is, and isn't back while somebody waits: that can't be told then."""
    (server, accounts), take = crashing, Steps.take
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(app, "LOOK_SECONDS", 0.1)

    def crash(steps: Steps, lease: ChangeLease) -> None:
        monkeypatch.setattr(Steps, "take", take)
        server.kill()
        take(steps, lease)

    monkeypatch.setattr(Steps, "take", crash)
    reply = accounts.change("ann", {"canceling": True}, **KEY)
    assert (reply.status, reply.body.get("code")) == (503, "unavailable")
    server.start()
    wait_until(lambda: accounts.change("ann", {"canceling": True}, **KEY).status == 200, 30)
    assert [row["state"] for row in accounts.rows()] == ["applied"]

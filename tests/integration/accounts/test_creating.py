"""POST /subscriptions: the ledger's row, as a message would have made it, and what it comes to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, NewAccounts
from tests.integration.web.callers import ask
from tests.support.stack import profile
from tests.support.waiting import wait_until
from worker.accounts import steps
from worker.web.api import app

SECOND = timedelta(seconds=1)
"""Trials end in whole seconds."""


def test_a_user_is_provisioned_now_and_once(accounts: Accounts) -> None:
    worker = accounts.stack.start_worker()
    wait_until(worker.is_ready)
    body = {"user_id": "bob", "plan": "pending", "email": "bob@example.org"}
    with ThreadPoolExecutor(3) as threads:
        told = list(threads.map(lambda _: accounts.create(body, Idempotency_Key="k"), range(3)))
    assert {(each.status, each.body["user_id"], each.body["plan"]) for each in told} == {(201, "bob", "pending")}
    assert ask(accounts, told[0].headers["Location"], ADMIN.token).body == told[0].body
    accounts.stack.publish(profile("bob"))
    again = accounts.create(body)
    assert (again.status, again.body["code"]) == (409, "exists")
    accounts.stack.assert_exactly_one("bob")
    assert accounts.customer("bob")["email"] == "bob@example.org"
    assert len(accounts.rows()) == 1


def test_a_plan_is_given_with_its_trial_and_a_card_with_it(accounts: Accounts) -> None:
    wait_until(accounts.stack.start_worker().is_ready)
    reply = accounts.create({"user_id": "bob", "plan": "gold", "stripe_source": "pm_card_visa"})
    assert (reply.status, reply.body["plan"], reply.body["status"]) == (201, "gold", "trialing")
    assert accounts.customer("bob")["invoice_settings"]["default_payment_method"]


def test_a_plans_own_trial_is_that_of_a_first_subscription_on_it_and_no_other(new_accounts: NewAccounts) -> None:
    own = {"SUBKEEPER_PLANS__GOLD__TRIAL_DAYS": "14"}
    accounts = new_accounts(**own)
    wait_until(accounts.stack.start_worker(**own).is_ready)
    before = datetime.now(UTC)
    made = {user: accounts.create({"user_id": user, "plan": plan}) for user, plan in (("bob", "gold"), ("eve", "pro"))}
    days = {user: datetime.fromisoformat(each.body["trial_end"]) - before for user, each in made.items()}
    assert timedelta(days=14) - SECOND < days["bob"] < timedelta(days=14, hours=1)
    assert timedelta(days=31) - SECOND < days["eve"] < timedelta(days=31, hours=1)
    trial_end = made["eve"].body["trial_end"]
    assert accounts.change("eve", {"plan": "gold"}, ADMIN.token).body["trial_end"] == trial_end


def test_who_is_in_the_ledger_exists(accounts: Accounts) -> None:
    accounts.stack.rows(
        "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES ('bob', 'pending', now(), 0)"
    )
    for user in ("ann", "bob"):
        reply = accounts.create({"user_id": user, "plan": "pro"})
        assert (reply.status, reply.body["code"]) == (409, "exists")
    assert accounts.rows() == []


def test_whom_stripe_refuses_is_told_and_waits_in_quarantine(accounts: Accounts) -> None:
    wait_until(accounts.stack.start_worker().is_ready)
    with ThreadPoolExecutor(1) as threads:
        accounts.stack.control.latency(ms=200)
        creating = threads.submit(accounts.create, {"user_id": "bob", "plan": "pro"})
        wait_until(lambda: accounts.stack.ledger("bob"))
        accounts.stack.rows(
            "UPDATE provisionings SET state = 'quarantined', quarantined_at = now(), lease_token = 1,"
            " last_error = 'stripe_refused: …' WHERE user_id = 'bob'"
        )
        reply = creating.result()
    assert (reply.status, reply.body["code"]) == (409, "set_aside")


def test_what_stripe_has_for_a_user_may_be_anothers(accounts: Accounts) -> None:
    """The customer that is found by our digest is here another user's."""
    wait_until(accounts.stack.start_worker().is_ready)
    with ThreadPoolExecutor(1) as threads:
        accounts.stack.control.latency(ms=200)
        creating = threads.submit(accounts.create, {"user_id": "bob", "plan": "pro"})
        wait_until(lambda: accounts.stack.customers("bob"))
        customer = accounts.stack.customers("bob")[0]["id"]
        accounts.stack.rows("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('eve', %s)", customer)
        reply = creating.result()
    assert (reply.status, reply.body["code"]) == (409, "stripe_id_taken")


def test_a_new_user_whom_nobody_settles_keeps_a_thread_waiting_once(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is only looked at then: many of them would leave none to anybody else's changes."""
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(steps, "LEDGER_PATIENCE", 4.0)
    assert accounts.create({"user_id": "bob", "plan": "pro"}).status == 202
    taken = partial(accounts.worker.metric, outcome="postponed")
    wait_until(lambda: taken("subkeeper_account_change_seconds_count") >= 2, 20)
    assert 4 <= taken("subkeeper_account_change_seconds_sum") < 7.9

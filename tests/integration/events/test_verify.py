"""What differs from Stripe is told, field by field, once it has held still; and a fetch mends what a fetch can mend."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.events.test_events import of, subscribe
from tests.support.commands import Commands
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.domain.drift import Finding, Kind, Repair
from worker.events import verifying
from worker.events.patience import Patience
from worker.events.read_meter import ReadMeter
from worker.events.verifying import Verifier
from worker.runtime.account import Account
from worker.runtime.resources import stripe_side
from worker.runtime.verifying import comparison
from worker.store.engine.database import Database
from worker.telemetry import Metrics


@pytest.fixture(autouse=True)
def quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "GRACE", 0.1)


class Silent:
    """Tells nobody how far it got."""

    def advanced(self, subscriptions: int) -> None:
        pass


@contextmanager
def verifier(stack: Stack, *, repair: bool = False) -> Iterator[Verifier]:
    """As the command has it, without waiting for its part of Stripe's rate."""
    settings, rng = stack.settings(), random.Random(1)
    stripe = stripe_side(settings, Metrics("1"), rng)
    database = Database(settings.database)
    meter = ReadMeter(database, settings.stripe.monthly_reads)
    account, patiently = Account(database, stripe.gateway, stripe.catalogue, meter), Patience(meter)
    refresher = account.refresher(settings, rng) if repair else None
    compared = comparison(settings, account, patiently)
    try:
        yield Verifier(account.database, account.gateway, compared, refresher, Silent(), patiently, timedelta(0))
    finally:
        account.database.close()
        account.gateway.close()


def verify(stack: Stack, *users: str, repair: bool = False) -> list[Finding]:
    with verifier(stack, repair=repair) as walking:
        return list(walking.of(users) if users else walking.everything())


def signed_up(stack: Stack, *user_ids: str) -> None:
    """They have their subscriptions, and nobody is at work any more."""
    worker = stack.start_worker()
    wait_until(worker.is_ready)
    stack.publish(*[profile(user_id) for user_id in user_ids])
    stack.await_completed(*user_ids)
    worker.stop()


def cancel(stack: Stack, user_id: str) -> str:
    subscription = of(stack, user_id)
    stack.call_stripe("POST", f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")
    return subscription


def test_each_difference_is_told_and_what_a_fetch_mends_is_mended(stack: Stack, tmp_path: Path) -> None:
    signed_up(stack, *users(6))
    assert verify(stack) == []
    differing = cancel(stack, "user-0")
    missing_here = str(subscribe(stack, str(stack.customers("user-1")[0]["id"]))["id"])
    gone = of(stack, "user-2")
    stack.rows(
        "UPDATE billing_subscriptions SET stripe_subscription_id = 'sub_gone' WHERE stripe_subscription_id = %s", gone
    )
    stack.rows("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('nobody', 'cus_nobody')")
    lost = of(stack, "user-3")
    stack.rows("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s", lost)
    bare = of(stack, "user-4")
    stack.rows("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s", bare)
    stack.rows("UPDATE provisionings SET stripe_subscription_id = 'sub_bare' WHERE user_id = 'user-4'")

    stack.rows("""
        INSERT INTO stripe_event_cursor (created, gap_from, gap_to)
        VALUES (now(), now() - interval '60 days', now() - interval '31 days')
    """)
    gap = "SELECT 1 FROM stripe_event_cursor WHERE gap_to IS NOT NULL"
    found = verify(stack)
    told = {(each.kind, each.stripe_subscription_id or each.stripe_customer_id): each for each in found}
    assert len(told) == len(found)
    assert set(told) == {
        (Kind.DIFFERING, differing),
        (Kind.MISSING_HERE, missing_here),
        (Kind.MISSING_HERE, gone),
        (Kind.MISSING_THERE, "sub_gone"),
        (Kind.MISSING_HERE, lost),
        (Kind.MISSING_HERE, bare),
        (Kind.ORPHANED_CUSTOMER, "cus_nobody"),
        (Kind.WITHOUT_SUBSCRIPTION, "sub_bare"),
    }
    assert {each[:3] for each in told[Kind.DIFFERING, differing].differences} >= {("canceling", False, True)}
    assert stack.subscription_row(differing)["canceling"] is False, "without --repair nothing is written"

    of_one = verify(stack, "user-0")
    assert [(each.kind, each.user_id) for each in of_one] == [(Kind.DIFFERING, "user-0")]

    assert stack.rows(gap), "what events can't be had for is not mended yet"
    mended = verify(stack, repair=True)
    assert not stack.rows(gap)
    by_repair = {each.stripe_subscription_id for each in mended if each.repair is Repair.DONE}
    assert by_repair == {differing, missing_here, gone, lost, bare}
    assert stack.subscription_row(differing)["canceling"] is True
    left = {(each.kind, each.stripe_subscription_id or each.detail) for each in verify(stack)}
    two = f"{of(stack, 'user-1')} {missing_here}"
    assert left >= {(Kind.MISSING_THERE, "sub_gone"), (Kind.WITHOUT_SUBSCRIPTION, "sub_bare")}
    assert Kind.TWO_SUBSCRIPTIONS in {kind for kind, _ in left}, two
    assert not stack.rows("SELECT 1 FROM subscription_refreshes")


def test_what_a_worker_mends_meanwhile_is_no_difference(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its event was on its way when the page was read."""
    monkeypatch.setattr(verifying, "GRACE", 1.5)
    signed_up(stack, "ada")
    cancel(stack, "ada")
    worker = stack.start_worker("events")
    wait_until(worker.is_ready)
    stack.hear(*stack.events("customer.subscription.updated"))
    with verifier(stack) as walking:
        assert list(walking.everything()) == []


def test_nothing_is_written_against_a_tombstone(stack: Stack) -> None:
    signed_up(stack, *users(2))
    subscription = cancel(stack, "user-0")
    hidden = str(subscribe(stack, str(stack.customers("user-1")[0]["id"]))["id"])
    stack.rows("UPDATE billing_customers SET deleted_at = now()")
    found = verify(stack, repair=True)
    assert [(each.kind, each.stripe_subscription_id, each.repair) for each in found] == [
        (Kind.DIFFERING, subscription, None)
    ]
    assert stack.subscription_row(subscription)["canceling"] is False
    assert stack.subscription_row(hidden) == {}


def test_the_command_says_its_cost_then_the_differences_and_ends_with_1_until_they_are_mended(
    stack: Stack, tmp_path: Path
) -> None:
    signed_up(stack, "ada")
    subscription = cancel(stack, "ada")
    command = Commands(stack, tmp_path)
    said = command("verify", "--repair", "--json", SUBKEEPER_SETTLE__THREADS="1")
    assert said.code == 0, said.err
    assert "asked about 1 time" in said.err
    finding, summary = said.json
    assert finding["differences"]["canceling"] == {"ours": False, "stripe": True}
    assert (finding["stripe_subscription_id"], finding["repair"]) == (subscription, "done")
    assert (summary["subscriptions"], summary["mended"]) == (1, 1)
    commands = "WHERE purpose = 'commands'"
    assert stack.rows(f"SELECT reads FROM stripe_reads {commands}")
    stack.rows(f"UPDATE stripe_reads SET reads = 8000 {commands}")
    spent = command("verify")
    assert (spent.code, "stripe.monthly_reads" in spent.err) == (2, True), "the reserve is left alone"
    stack.rows(f"UPDATE stripe_reads SET reads = 0 {commands}")
    stack.rows("UPDATE billing_subscriptions SET canceling = false, seen_to = seen_to - interval '1 day'")
    said = command("verify", "--user", "ada")
    assert said.code == 1, said.err
    assert f"differing\tada\t{subscription}" in said.out

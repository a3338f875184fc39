"""What differs from Stripe is told, field by field, once it has held still; and a fetch mends what a fetch can mend."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.events.test_events import of, subscribe
from tests.support.commands import Commands
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.domain.drift import Finding, Kind, Repair
from worker.errors import Misconfigured
from worker.events import verifying
from worker.events.comparing_cards import CardComparison
from worker.events.patience import Patience
from worker.events.read_meter import ReadMeter
from worker.events.verifying import Verifier, Watch
from worker.events.walk import Walk
from worker.runtime.account import Account
from worker.runtime.resources import stripe_side
from worker.runtime.verifying import comparison
from worker.store.engine.database import Database
from worker.stripe_api import subscription_list
from worker.telemetry import Metrics

ZERO = timedelta(0)


@pytest.fixture(autouse=True)
def quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "GRACE", 0.1)


class Killing:
    """Tells nobody how far it got; ends a walk after so many pages (None: never)."""

    def __init__(self, pages: int | None = None) -> None:
        self._left = pages

    def advanced(self, subscriptions: int) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt


@contextmanager
def verifier(stack: Stack, *, repair: bool = False, watch: Watch | None = None) -> Iterator[Verifier]:
    """As the command has it, without waiting for its part of Stripe's rate."""
    settings, rng = stack.settings(), random.Random(1)
    stripe = stripe_side(settings, Metrics("1"), rng)
    database = Database(settings.database)
    meter = ReadMeter(database, settings.stripe.monthly_reads)
    account, patiently = Account(database, stripe.gateway, stripe.catalogue, meter), Patience(meter)
    refresher = account.refresher(settings, rng) if repair else None
    compared = comparison(settings, account, patiently)
    cards = CardComparison(account.database, account.gateway, patiently, repairs=repair)
    try:
        yield Verifier(
            account.database, account.gateway, compared, cards, refresher, watch or Killing(), patiently, timedelta(0)
        )
    finally:
        account.database.close()
        account.gateway.close()


def verify(stack: Stack, *users: str, repair: bool = False) -> list[Finding]:
    with verifier(stack, repair=repair) as walking, Walk(None) as walk:
        return told(walking.of(users, walk) if users else walking.everything(walk), walk)


def told(found: Iterator[Finding], walk: Walk) -> list[Finding]:
    """Each as the command tells it."""
    findings = []
    for each in found:
        findings.append(each)
        walk.told(each)
    return findings


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
    assert verify(stack) == []


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


def everything(
    stack: Stack, path: Path, *, resumed: bool = False, pages: int | None = None, most: int | None = None
) -> set[str]:
    """What a run of a walk tells that ends after so many `pages` or `most` findings, as if it were killed there."""
    told = []
    with (
        suppress(KeyboardInterrupt),
        verifier(stack, watch=Killing(pages)) as walking,
        Walk(path, resumed=resumed) as walk,
    ):
        for found in walking.everything(walk):
            told.append(f"{found.kind} {found.stripe_subscription_id or found.stripe_customer_id}")
            walk.told(found)
            if len(told) == most:
                raise KeyboardInterrupt
        assert len(set(told)) == len(told)
        assert walk.walked.differences == len(told) + walk.told_before
        assert walk.walked.subscriptions == len(list(walk.seen())) + path.read_text().count('"asked"')
    return set(told)


def test_a_walk_that_is_broken_off_goes_on_where_it_was_and_tells_all_and_nothing_twice(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_list, "PAGE", 2)
    signed_up(stack, *users(7))
    for user_id in ("user-0", "user-3", "user-6"):
        cancel(stack, user_id)
    lost = of(stack, "user-2")
    stack.rows(
        "UPDATE billing_subscriptions SET stripe_subscription_id = 'sub_x' WHERE stripe_subscription_id = %s", lost
    )
    stack.rows("UPDATE provisionings SET stripe_subscription_id = 'sub_y' WHERE user_id = 'user-4'")
    stack.rows("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s", of(stack, "user-4"))
    stack.rows("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('a', 'cus_a'), ('b', 'cus_b')")
    path = tmp_path / "progress"
    whole = everything(stack, path)
    assert len(whole) == 9
    for pages, most in [(1, None), (3, None), (None, 1), (None, 3), (None, 6), (None, 8), (None, 9)]:
        before = everything(stack, path, pages=pages, most=most)
        with path.open("ab") as file:
            file.write(b'{"page": ["sub_half')
        after = everything(stack, path, resumed=True, most=2) if len(before) < 7 else set()
        rest = everything(stack, path, resumed=True)
        assert len(before) + len(after) + len(rest) == len(whole), (pages, most)
        assert before | after | rest == whole, (pages, most)


def test_what_is_created_and_changed_meanwhile_confuses_no_walk_that_goes_on(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_list, "PAGE", 1)
    signed_up(stack, *users(4))
    path = tmp_path / "progress"
    assert everything(stack, path, pages=2) == set()
    with Walk(path, resumed=True) as walk:
        compared = set(walk.seen())
    assert len(compared) == 2
    canceled = {cancel(stack, user_id) for user_id in users(4)}
    signed_up(stack, "later")
    assert everything(stack, path, resumed=True) == {f"differing {each}" for each in canceled - compared}


def test_a_command_that_is_interrupted_says_how_to_go_on_and_its_exit_code_counts_what_was_told_before(
    stack: Stack, tmp_path: Path
) -> None:
    signed_up(stack, *users(2))
    cancel(stack, "user-0")
    stack.rows("INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('a', 'cus_a')")
    stack.rows("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s", of(stack, "user-1"))
    stack.rows("UPDATE provisionings SET stripe_subscription_id = 'sub_bare' WHERE user_id = 'user-1'")
    path, command = tmp_path / "subkeeper-verify.progress", Commands(stack, tmp_path)
    nothing = command("verify", "--resume")
    assert (nothing.code, "--resume: there is no" in nothing.err) == (2, True), nothing.err
    assert command("verify", "--resume", "--user", "user-0").code == 2
    stack.control.fault("latency", match={"path": "/v1/subscriptions/sub_bare"}, ms=60_000)
    running = command.start("verify", "--json")
    wait_until(lambda: path.exists() and "customers" in path.read_text(), timeout=30)
    beside = command("verify")
    assert (beside.code, "another verify has" in beside.err) == (1, True), beside.err
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"2 subscriptions compared, 3 differences. To go on: the same command with --resume." in err
    assert {json.loads(line)["kind"] for line in out.splitlines()} == {"differing", "missing_here", "orphaned_customer"}
    stack.control.clear_faults()
    other = command("verify", "--resume", "--repair")
    assert (other.code, "other choice of --repair" in other.err) == (2, True), other.err
    resumed = command("verify", "--resume", "--json")
    assert resumed.code == 1, resumed.err
    bare, summed = resumed.json
    assert bare["kind"] == "without_subscription"
    assert (summed["subscriptions"], summed["differences"], summed["told_before"]) == (2, 4, 3)
    assert not path.exists()


def test_what_nobody_foresaw_leaves_the_reserve_alone_and_what_was_not_sent_is_given_back(stack: Stack) -> None:
    database = Database(stack.settings().database)
    meter = ReadMeter(database, monthly=100)
    meter.foresee(75)
    for _ in range(80):
        meter.spend()
    with pytest.raises(Misconfigured, match="this takes more reads of Stripe"):
        meter.spend()
    unspent = ReadMeter(database, monthly=200)
    unspent.foresee(50)
    unspent.spend()
    unspent.give_back()
    assert stack.rows("SELECT reads FROM stripe_reads") == [{"reads": 81}]
    database.close()

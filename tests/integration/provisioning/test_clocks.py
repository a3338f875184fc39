"""Clocks that are wrong: the machine's, Postgres's, Stripe's. No trial is longer or shorter for it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import pytest
from structlog.testing import capture_logs

from tests.support.stack import TRIAL, Stack, profile
from tests.support.waiting import wait_until
from worker.domain.clocks import Clocks
from worker.domain.deadline import boot_time
from worker.runtime.clocks import ClockWatch
from worker.runtime.outside import Outside
from worker.runtime.provisioning import Provisioning
from worker.runtime.resources import Resources
from worker.runtime.services import Service
from worker.runtime.upkeep import Upkeep
from worker.store.engine.database import Database
from worker.telemetry import Health, Metrics
from worker.threads import Threads

pytestmark = pytest.mark.usefixtures("quick_probes")

FORTY_DAYS = timedelta(days=40)
A_MOMENT = timedelta(seconds=30)

POSTGRES_FORTY_DAYS_AHEAD: tuple[LiteralString, ...] = (
    "CREATE SCHEMA simulated",
    """CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql
       AS $$ SELECT pg_catalog.clock_timestamp() + interval '40 days' $$""",
    """DO $$ BEGIN
       EXECUTE format('ALTER DATABASE %%I SET search_path = simulated, public, pg_catalog', current_database());
       END $$""",
)
"""For sessions that begin later."""


@contextmanager
def a_worker(stack: Stack, rng: random.Random, *, ahead: timedelta) -> Iterator[Metrics]:
    """A worker whose machine's clock is so far ahead."""
    metrics, health = Metrics("test"), Health([])
    resources = Resources(stack.settings(), metrics, health, rng, Outside(local_time=lambda: datetime.now(UTC) + ahead))
    services: list[Service] = [Provisioning(resources), Upkeep(resources)]
    threads = Threads(on_failure=lambda name: None)
    resources.require_schema()
    resources.require_deployment()
    for service in services:
        service.start(threads)
    try:
        yield metrics
    finally:
        for service in services:
            service.stop()
        assert threads.join(20) == []
        for service in services:
            service.close()
        resources.close()


def set_postgres_ahead(stack: Stack) -> None:
    for statement in POSTGRES_FORTY_DAYS_AHEAD:
        stack.rows(statement)


@pytest.mark.parametrize("ahead", [FORTY_DAYS, -FORTY_DAYS])
@pytest.mark.parametrize("created_at", ["known", "unknown"])
def test_a_machine_s_clock_that_is_forty_days_off_changes_no_trial(
    stack: Stack, rng: random.Random, ahead: timedelta, created_at: str
) -> None:
    created = datetime.now(UTC)
    with a_worker(stack, rng, ahead=ahead):
        stack.publish(profile("ada", created_at=created.isoformat() if created_at == "known" else None))
        stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    end = stack.ledger("ada")["trial_end"]
    if created_at == "known":
        assert end == (created + TRIAL).replace(microsecond=0)
    else:
        assert timedelta(seconds=-1) <= end - (created + TRIAL) <= A_MOMENT


def assert_that_a_trial_counts_from_creation(stack: Stack, rng: random.Random) -> None:
    created = datetime.now(UTC)
    with a_worker(stack, rng, ahead=timedelta(0)):
        stack.publish(profile("ada", created_at=created.isoformat()))
        stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.ledger("ada")["trial_end"] == (created + TRIAL).replace(microsecond=0)


def test_postgres_s_clock_that_is_forty_days_ahead_changes_no_trial(stack: Stack, rng: random.Random) -> None:
    set_postgres_ahead(stack)
    assert_that_a_trial_counts_from_creation(stack, rng)


def test_stripe_s_clock_that_is_three_days_ahead_changes_no_trial(stack: Stack, rng: random.Random) -> None:
    stack.control.jump(timedelta(days=3).total_seconds())
    assert_that_a_trial_counts_from_creation(stack, rng)


def test_two_clocks_that_are_forty_days_ahead_make_no_seventy_day_trial(stack: Stack, rng: random.Random) -> None:
    """The machine's and Postgres's, which are often one: Stripe judges the trial, so its clock has the last word."""
    set_postgres_ahead(stack)
    created = datetime.now(UTC)
    with capture_logs() as logs, a_worker(stack, rng, ahead=FORTY_DAYS):
        stack.publish(profile("ada", created_at=created.isoformat()))
        stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert timedelta(seconds=-2) <= stack.ledger("ada")["trial_end"] - (created + TRIAL) <= A_MOMENT
    (shortened,) = [event for event in logs if event["event"] == "trial.shortened"]
    assert shortened["user_id"] == "ada"


def test_a_clock_that_is_ahead_while_stripe_s_is_not_known_makes_no_seventy_day_trial(
    stack: Stack, rng: random.Random
) -> None:
    """Absorbed while Stripe was away, settled once it was back."""
    worker = stack.start_worker()
    wait_until(worker.is_ready)
    worker.stop()  # whose database it is, is known now
    stack.control.fault("drop")
    created = datetime.now(UTC)
    with a_worker(stack, rng, ahead=FORTY_DAYS):
        stack.publish(profile("ada", created_at=created.isoformat()))
        wait_until(lambda: stack.ledger("ada"))
        assert stack.ledger("ada")["trial_end"] > created + TRIAL + timedelta(days=30)
        stack.control.clear_faults()
        stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert timedelta(seconds=-2) <= stack.ledger("ada")["trial_end"] - (created + TRIAL) <= A_MOMENT


def test_that_stripe_s_clock_has_whole_seconds_shortens_no_trial_by_one(stack: Stack, rng: random.Random) -> None:
    names = [f"user-{number}" for number in range(20)]
    with a_worker(stack, rng, ahead=timedelta(0)):
        for name in names:
            created = datetime.now(UTC)
            stack.publish(profile(name, created_at=created.isoformat()))
            stack.await_completed(name)
            assert stack.ledger(name)["trial_end"] == (created + TRIAL).replace(microsecond=0)
    stack.assert_exactly_one(*names)


def test_clocks_that_are_apart_are_told_once_and_shown(stack: Stack, rng: random.Random) -> None:
    with capture_logs() as logs, a_worker(stack, rng, ahead=FORTY_DAYS) as metrics:
        wait_until(lambda: b'clock_skew_seconds{clock="postgres"}' in metrics.render())
        wait_until(lambda: b'clock_skew_seconds{clock="stripe"}' in metrics.render())
        shown = metrics.render().decode()
    drifted = [event for event in logs if event["event"] == "clock.drifted"]
    assert [(event["clock"], event["seconds"], event["log_level"]) for event in drifted] == [
        ("local", FORTY_DAYS.total_seconds(), "error")
    ]
    (local,) = [line for line in shown.splitlines() if line.startswith('subkeeper_clock_skew_seconds{clock="local"}')]
    assert abs(float(local.split()[-1]) - FORTY_DAYS.total_seconds()) < 60


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    database = Database(stack.settings().database)
    yield database
    database.close()


def test_a_clock_that_is_set_right_is_told_too_and_nothing_is_unready_meanwhile(database: Database) -> None:
    ahead = FORTY_DAYS
    health = Health([])
    each = Clocks(lambda: datetime.now(UTC) + ahead, lambda: datetime.now(UTC))
    clocks = ClockWatch(each, Metrics("test"), health, boot_time)
    clocks.ask_postgres(database)
    with capture_logs() as logs:
        for ahead in (FORTY_DAYS, FORTY_DAYS, timedelta(0), timedelta(0)):
            clocks.compare()
            said = health.parts()["clocks"]
            assert said.ok, "the others tell the time"
            assert ("local" in said.detail) == (ahead > timedelta(0))
    told = [event["event"] for event in logs if event["event"].startswith("clock.")]
    assert told == ["clock.drifted", "clock.agreed"]


# Trials that Stripe refuses


def test_a_trial_that_stripe_refuses_whatever_it_is_sets_the_user_aside(stack: Stack) -> None:
    match = {"path": "/v1/subscriptions", "method": "POST", "user_id": "ada"}
    stack.control.fault("status", match=match, status=400, param="trial_end")
    stack.start_worker()
    stack.publish(profile("ada"), profile("bob"))
    stack.await_completed("bob")
    stack.await_state("ada", "quarantined")
    assert stack.ledger("ada")["last_error"].startswith("trial_refused")
    asked = [each for each in stack.requests("POST", "/v1/subscriptions") if each["user_id"] == "ada"]
    assert len(asked) <= 6, "three trials in each of at most two attempts"
    assert stack.subscriptions("ada") == []

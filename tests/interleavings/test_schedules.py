"""Single schedules of two workers that once went wrong, each by its name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sandbox.stripe.faults import Fault
from tests.interleavings.process import LEASE, Process
from tests.interleavings.puppet import Order
from tests.interleavings.world import USER, World, finish, go_to_write
from worker.domain.provisioning import SHORTEST_TRIAL_TO_SEND, State

A_LEASE = LEASE + timedelta(seconds=1)


def test_a_row_that_waited_past_its_lease_is_left_to_whoever_settled_it_meanwhile(world: World) -> None:
    slow, other = world.processes
    slow.work()  # settling is halted until something was tried
    finish(slow)
    slow.deliver("profile_created", world.message(USER, "ada@example.com", world.now()))
    finish(slow)
    world.pass_time(A_LEASE)
    other.work()
    finish(other)
    slow.work()
    finish(slow)
    row = world.row()
    assert row is not None
    assert row.state == State.COMPLETED


def test_a_new_trial_is_not_started_while_the_old_request_may_still_take_effect(world: World) -> None:
    slow, other = world.processes
    slow.deliver("profile_created", world.message(USER, "ada@example.com", world.now()))
    finish(slow)
    row = world.row()
    assert row is not None
    world.pass_time(row.trial_end - world.now() - SHORTEST_TRIAL_TO_SEND - A_LEASE / 2)
    slow.work()
    go_to_write(slow, "/v1/subscriptions")  # the trial is just long enough
    world.pass_time(A_LEASE)  # and now it isn't
    slow.puppet.go(Order.FAIL)
    finish(slow)
    for _ in range(30):
        other.work()
        finish(other)
        world.pass_time(A_LEASE)
    row = world.row()
    assert row is not None
    assert row.state == State.COMPLETED
    for flight in world.orphans():
        world.wire.land(flight)
    assert len(world.subscriptions()) == 1


def _search_slowly(world: World, process: Process) -> None:
    """Each page takes most of a lease; the first answer to the request that creates the customer is lost."""
    while not process.idle:
        flight = process.puppet.at.flight if process.puppet.at else None
        if flight is not None and not flight.is_write and len(world.customers()) == 0:
            world.pass_time(LEASE * 2 / 3)  # the lease is renewed between two pages
        if flight is not None and flight.is_write and flight.call.path == "/v1/customers":
            first = flight.fault is None and not world.customers()
            flight.fault = Fault("status", "after", status=500, sticky=True)
            world.wire.land(flight)
            process.puppet.go(Order.FAIL_AT_ONCE if first else Order.GO)
            continue
        process.puppet.go()


def test_a_search_that_takes_longer_than_its_window_still_finds_what_was_made_at_its_end(world: World) -> None:
    process, _ = world.processes
    world.stripe.ledger.search.lag = 3600.0
    process.deliver("profile_created", world.message(USER, None, world.now()))
    finish(process)
    process.work()
    go_to_write(process, "/v1/customers")
    process.puppet.go(Order.FAIL)
    world.wire.vanish(world.orphans()[0])
    finish(process)
    world.pass_time(timedelta(hours=12))
    for _ in range(2500):
        world.ask_stripe("POST", "/v1/customers")
    world.pass_time(timedelta(hours=12))
    for _ in range(100):  # a walk through many pages gives the row back, and goes on where it was
        process.work()
        _search_slowly(world, process)
        row = world.row()
        if row is not None and row.state == State.COMPLETED:
            break
        world.pass_time(A_LEASE)
    assert row is not None
    assert row.state == State.COMPLETED
    assert len(world.customers()) == 1


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/subscriptions"])
def test_a_saved_500_that_hid_an_effect_is_followed_by_a_look(world: World, path: str) -> None:
    process, _ = world.processes
    process.deliver("profile_created", world.message(USER, "ada@example.com", world.now()))
    finish(process)
    process.work()
    go_to_write(process, path)
    gate = process.puppet.at
    assert gate is not None
    assert gate.flight is not None
    gate.flight.fault = Fault("status", "after", status=500, sticky=True)
    finish(process)
    for _ in range(3):
        world.pass_time(A_LEASE)
        process.work()
        finish(process)
    row = world.row()
    assert row is not None
    assert row.state == State.COMPLETED
    assert len(world.customers()) == len(world.subscriptions()) == 1


def test_a_user_who_is_replayed_after_a_loss_and_settled_when_stripe_has_forgotten_the_keys_is_found(
    world: World,
) -> None:
    process, other = world.processes
    created_at = world.now()
    process.deliver("profile_created", world.message(USER, None, created_at))
    finish(process)
    process.work()
    finish(process)
    world.pass_time(timedelta(hours=10))
    world.lose_database()
    world.kill(process)
    world.kill(other)
    process, _ = world.processes
    process.deliver("profile_backfill", world.message(USER, None, created_at))
    finish(process)
    world.pass_time(timedelta(hours=25))
    for _ in range(3):
        process.work()
        finish(process)
        world.pass_time(A_LEASE)
    assert len(world.customers()) == len(world.all_subscriptions()) == 1
    row = world.row()
    assert row is not None
    assert row.state == State.COMPLETED

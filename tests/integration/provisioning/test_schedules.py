"""Single schedules of two workers that once went wrong, each by its name."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.provisioning.process import LEASE, Process
from tests.integration.provisioning.puppet import Order
from tests.integration.provisioning.world import World
from worker.domain.provisioning import SHORTEST_TRIAL_TO_SEND, State

A_LEASE = LEASE + timedelta(seconds=1)


def _finish(process: Process) -> None:
    while not process.idle:
        process.puppet.go()


def test_a_row_that_waited_past_its_lease_is_left_to_whoever_settled_it_meanwhile(world: World) -> None:
    slow, other = world.processes
    slow.work()  # settling is halted until something was tried
    _finish(slow)
    slow.deliver("profile_created", world.message("ada@example.com", timedelta(0)))
    _finish(slow)
    world.pass_time(A_LEASE)
    other.work()
    _finish(other)
    slow.work()
    _finish(slow)
    row = world.row()
    assert row is not None
    assert row.state == State.COMPLETED


def _go_to_request(process: Process, path: str) -> None:
    while process.puppet.at is not None:
        flight = process.puppet.at.flight
        if flight is not None and flight.call.path == path and flight.is_write:
            return
        process.puppet.go()


def test_a_new_trial_is_not_started_while_the_old_request_may_still_take_effect(world: World) -> None:
    slow, other = world.processes
    slow.deliver("profile_created", world.message("ada@example.com", timedelta(0)))
    _finish(slow)
    row = world.row()
    assert row is not None
    world.pass_time(row.trial_end - world.now() - SHORTEST_TRIAL_TO_SEND - A_LEASE / 2)
    slow.work()
    _go_to_request(slow, "/v1/subscriptions")  # the trial is just long enough
    world.pass_time(A_LEASE)  # and now it isn't
    slow.puppet.go(Order.FAIL)
    _finish(slow)
    for _ in range(30):
        other.work()
        _finish(other)
        world.pass_time(A_LEASE)
    row = world.row()
    assert row is not None
    assert row.state == State.COMPLETED
    for flight in world.orphans():
        world.wire.land(flight)
    assert len(world.subscriptions()) == 1

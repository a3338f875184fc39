"""Single schedules of two workers that once went wrong, each by its name."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.provisioning.process import LEASE, Process
from tests.integration.provisioning.world import World
from worker.domain.provisioning import State

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

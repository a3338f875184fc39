"""A poller that is killed, or held past its lease: another one leads within ten seconds, and it alone writes."""

from __future__ import annotations

import signal

import pytest

from tests.faults.launcher import Fault, Launched, Launcher
from tests.faults.seams import When
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.events import intake

POLL = ("run", "poller")
TAKEN_OVER_WITHIN = 10.0
"""Seconds."""


@pytest.fixture
def stack(new_stack: NewStack) -> Stack:
    stack = new_stack(SUBKEEPER_STRIPE__MONTHLY_READS="1000000000", SUBKEEPER_DATABASE__STATEMENT_TIMEOUT="1")
    stack.prepare()
    return stack


def make_event(stack: Stack) -> None:
    stack.call_stripe("POST", "/v1/customers", name="somebody")


def published(stack: Stack) -> int:
    return int(stack.nsqd.channel(stack.events_topic, "subkeeper")["depth"])


def leads(poller: Launched) -> bool:
    return poller.text.count("polling.begun") > poller.text.count("polling.lost")


def token(stack: Stack) -> int:
    return int(stack.rows("SELECT lease_token FROM stripe_event_cursor")[0]["lease_token"])


def test_a_poller_that_is_killed_is_followed_within_ten_seconds(launcher: Launcher, stack: Stack) -> None:
    """No lease is cut short here. What the second process has to wait for is held: what is left of the lease once the
    first one is dead, by the database's clock, and the pause between two looks of its own. How fast the machine is
    beside that isn't."""
    first = launcher.start(stack.environ, POLL)
    wait_until(lambda: leads(first))
    second = launcher.start(stack.environ, POLL)
    wait_until(lambda: "another process polls" in second.text)
    make_event(stack)
    wait_until(lambda: published(stack) == 1, what="it is published")
    first.kill()
    (held,) = stack.rows("SELECT extract(epoch FROM lease_until - now()) AS seconds FROM stripe_event_cursor")
    assert float(held["seconds"]) + intake.TICK < TAKEN_OVER_WITHIN
    make_event(stack)
    wait_until(lambda: leads(second), TAKEN_OVER_WITHIN, "the other leads")
    wait_until(lambda: published(stack) == 3, what="what isn't processed is published by who follows, too")


HELD_AT = [
    *[("commit:Leadership.write", nth, when) for nth in (1, 2, 4, 5) for when in ("before", "after")],
    ("stripe:events.list", 1, "before"),
    ("stripe:events.list", 1, "after"),
    ("publish:Outlet.publish", 1, "before"),
]


@pytest.mark.parametrize(("point", "nth", "when"), HELD_AT)
def test_a_poller_that_wakes_after_its_lease_writes_nothing(
    launcher: Launcher, stack: Stack, point: str, nth: int, when: When
) -> None:
    """A transaction that it holds open is ended by Postgres after `statement_timeout`, which frees the row. That it was
    held, its own clock tells it; the database's is not waited for."""
    make_event(stack)
    held_there = Fault("suspend", point, when, nth, seconds=30), Fault("stop", point, when, nth)
    zombie = launcher.start(stack.environ, POLL, *held_there)
    zombie.await_stop()
    stack.rows("UPDATE stripe_event_cursor SET lease_until = now(), poll_at = now()")
    other = launcher.start(stack.environ, POLL)
    wait_until(lambda: leads(other) and published(stack) == 1, what="another one polls")
    held = token(stack)
    other.send(signal.SIGSTOP)
    other.await_stop()
    before, reads = written(stack), len(stack.requests("GET", "/v1/events"))
    zombie.send(signal.SIGCONT)
    wait_until(lambda: "polling.lost" in zombie.text, what=f"it knows\n{zombie.text}")
    assert written(stack) == before
    assert len(stack.requests("GET", "/v1/events")) == reads
    assert published(stack) <= 1 + (point == "publish:Outlet.publish"), "a publication that had begun is not taken back"
    assert token(stack) == held


def written(stack: Stack) -> list[dict[str, object]]:
    """All that a leader writes, but the lease of who follows, which runs out while he is held."""
    cursor = stack.rows("SELECT created, caught_up_at, poll_at, gap_from, gap_to, lease_token FROM stripe_event_cursor")
    reads = stack.rows("SELECT * FROM stripe_reads WHERE purpose = 'polls'")
    return [*cursor, *reads, *stack.rows("SELECT * FROM processed_stripe_events")]

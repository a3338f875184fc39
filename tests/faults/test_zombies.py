"""A worker that is held (SIGSTOP) past its lease and wakes: another one has done its work, and the fence holds."""

from __future__ import annotations

import json
import signal

import pytest

from tests.faults.launcher import Fault, Launched, Launcher
from tests.faults.scenarios import CUSTOMERS, RUN, SUBSCRIPTIONS, completed, refuse
from tests.faults.seams import When
from tests.faults.tally import EXACT, await_states, tally
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Http, Stack, profile
from tests.support.waiting import wait_until

WRITTEN = """
    SELECT p.*, c.*, s.* FROM provisionings p JOIN billing_customers c USING (user_id)
    JOIN billing_subscriptions s ON s.billing_customer_id = c.id WHERE p.user_id = 'ada'
"""

HELD_AT = [
    pytest.param(path, point, when, id=f"{point}-{when}")
    for path, point in (
        ("", "stripe:customers.create"),
        ("", "commit:Leases.record_customer"),
        ("", "stripe:subscriptions.create"),
        ("", "commit:Leases.complete"),
        (CUSTOMERS, "stripe:customers.list"),
        (CUSTOMERS, "commit:Leases.next_generation"),
        (SUBSCRIPTIONS, "stripe:subscriptions.list"),
        (SUBSCRIPTIONS, "commit:Leases.next_generation"),
        (SUBSCRIPTIONS, "commit:Leases.freeze_subscription_request"),
    )
    for when in ("before", "after")
]
"""Where it is held, and whose key of ada's is burnt before that."""


def hold(launcher: Launcher, stack: Stack, point: str, when: When) -> Launched:
    """A worker that is held while it settles ada; it may not have finished her message by then, so nsqd soon gives that
    to another one."""
    environ = stack.environ | {"SUBKEEPER_NSQ__MSG_TIMEOUT": "1"}
    zombie = launcher.start(environ, RUN, Fault("stop", point, when))
    wait_until(lambda: '"part": "stripe", "ok": true' in zombie.text, what="it settles")
    stack.publish(profile("ada"))
    zombie.await_stop()
    return zombie


def wake(stack: Stack, zombie: Launched) -> None:
    """It goes on, gets over ada, and is seen to work: it alone settles bob."""
    before = zombie.text.count("provisioning.postponed")
    zombie.send(signal.SIGCONT)
    stack.publish(profile("bob"))
    stack.await_completed("bob")
    wait_until(lambda: settled(zombie) >= before + 2, what=f"over ada\n{zombie.text}")


def settled(worker: Launched) -> int:
    """How many settlings came to an end, whichever."""
    http = Http()
    listening = next(line for line in worker.text.splitlines() if "health.listening" in line)
    http.port = json.loads(listening)["port"]
    counts = [
        line for line in http.get("/metrics")[1].splitlines() if line.startswith("subkeeper_settle_seconds_count")
    ]
    return sum(int(float(line.rpartition(" ")[2])) for line in counts)


@pytest.mark.parametrize(("burnt", "point", "when"), HELD_AT)
def test_a_worker_that_wakes_after_its_lease_writes_nothing(
    launcher: Launcher, new_stack: NewStack, burnt: str, point: str, when: When
) -> None:
    """A transaction that it holds open is ended by Postgres after `statement_timeout`, which frees the row."""
    stack = new_stack(SUBKEEPER_DATABASE__STATEMENT_TIMEOUT="1")
    stack.prepare()
    if burnt:
        refuse(stack, burnt, status=500)
    zombie = hold(launcher, stack, point, when)
    if (point, when) != ("commit:Leases.complete", "after"):
        stack.expire_leases()
    other = launcher.start(stack.environ, RUN)
    await_states(stack, completed("ada"), 20)
    other.kill()
    before = stack.rows(WRITTEN)
    assert len(before) == 1
    wake(stack, zombie)
    assert stack.rows(WRITTEN) == before
    assert tally(stack, completed("ada", "bob")) == EXACT


@pytest.mark.parametrize(
    ("burnt", "point"),
    [
        ("", "stripe:customers.create"),
        ("", "stripe:subscriptions.create"),
        (CUSTOMERS, "stripe:customers.list"),
        (SUBSCRIPTIONS, "stripe:subscriptions.list"),
    ],
)
def test_a_worker_that_wakes_while_another_one_has_its_row_writes_nothing(
    launcher: Launcher, stack: Stack, burnt: str, point: str
) -> None:
    """The row is unfinished still, in the same state and step: its fencing token alone keeps the first one out."""
    if burnt:
        refuse(stack, burnt, status=500)
    zombie = hold(launcher, stack, point, "after")
    stack.expire_leases()
    other = launcher.start(stack.environ, RUN, Fault("stop", point, "after"))
    other.await_stop()
    before = stack.ledger("ada")
    zombie.send(signal.SIGCONT)
    wait_until(lambda: "lease.lost" in zombie.text)
    assert stack.ledger("ada") == before
    other.send(signal.SIGCONT)
    await_states(stack, completed("ada"), 20)
    assert tally(stack, completed("ada")) == EXACT


def test_a_worker_that_is_held_for_longer_than_a_real_lease_writes_nothing(
    launcher: Launcher, new_stack: NewStack
) -> None:
    """No lease is cut short here: the other worker waits until it has run out by the database's clock."""
    stack = new_stack(SUBKEEPER_STRIPE__REQUEST_TIMEOUT="0.5", SUBKEEPER_SETTLE__LEASE="5.5")
    stack.prepare()
    zombie = hold(launcher, stack, "stripe:customers.create", "after")
    other = launcher.start(stack.environ, RUN)
    assert await_states(stack, completed("ada"), 20) > 3
    other.kill()
    before = stack.rows(WRITTEN)
    wake(stack, zombie)
    assert stack.rows(WRITTEN) == before
    assert tally(stack, completed("ada", "bob")) == EXACT

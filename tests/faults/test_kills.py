"""kill -9 before and after every side effect, in every situation that has its own: the count is right each time."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.faults.launcher import Fault, Launched, Launcher
from tests.faults.points import POINTS, READS
from tests.faults.scenarios import RUN, SCENARIOS, Kill, Scenario
from tests.faults.seams import When
from tests.faults.tally import EXACT, tally
from tests.integration.profiles.conftest import NewStack
from tests.integration.profiles.stack import Stack, wait_until
from worker.sandbox.nsq import Nsqd
from worker.sandbox.workspace import Workspace

KILLS = [
    pytest.param(name, kill, when, id=f"{name}-{kill.point}-{kill.nth}-{when}")
    for name, scenario in SCENARIOS.items()
    for kill in scenario.kills
    for when in ("before", "after")
]


@pytest.fixture(scope="module")
def quick_nsqd(workspace: Workspace) -> Iterator[Nsqd]:
    """Gives back what timed out at once, where the first message of a new channel would wait for up to 5 s."""
    with Nsqd(workspace, flags=["--queue-scan-interval=20ms", "--queue-scan-refresh-interval=50ms"]) as nsqd:
        yield nsqd


@pytest.fixture
def arranged(new_stack: NewStack, quick_nsqd: Nsqd, request: pytest.FixtureRequest) -> Stack:
    """A deployment for the scenario of this test; without what `setup` makes where that is what is killed.

    What a killed worker had in hand is delivered again after `nsq.msg_timeout`: nsqd takes nothing back at a hang-up.
    """
    scenario = SCENARIOS[request.getfixturevalue("name")]
    environ = {"SUBKEEPER_NSQ__MSG_TIMEOUT": "1", **scenario.environ}
    if scenario.is_set_up:
        stack = new_stack(nsqd=quick_nsqd, **environ)
        stack.setup()
        return stack
    return new_stack(nsqd=quick_nsqd, database_url=request.getfixturevalue("empty_database_url"), **environ)


def await_settled(stack: Stack, expected: dict[str, str], worker: Launched, scenario: Scenario) -> None:
    """Everything is in its last state, and no message is left."""

    seen: list[object] = []

    def is_settled() -> bool:
        states = {row["user_id"]: row["state"] for row in stack.rows("SELECT user_id, state FROM provisionings")}
        kept = stack.rows("SELECT count(*) AS n FROM quarantined_messages")[0]["n"]
        drained = stack.is_drained(stack.topic) and stack.is_drained(stack.backfill_topic)
        seen[:] = [states, kept, drained]
        return states == expected and kept == scenario.refused and drained

    try:
        wait_until(is_settled, 20)
    except AssertionError:
        pytest.fail(f"not settled: {seen}, expected {expected}\n{worker.text}")


def recover(launcher: Launcher, stack: Stack, scenario: Scenario, expected: dict[str, str]) -> None:
    """The command is given again if it isn't a worker's own, and a worker finishes what is left."""
    command = scenario.command(stack)
    if command != RUN:
        again = launcher.start(stack.environ, command)
        assert again.await_end() == 0, again.text
    stack.expire_leases()
    worker = launcher.start(stack.environ, RUN)
    await_settled(stack, expected, worker, scenario)
    worker.kill()


@pytest.mark.parametrize(("name", "kill", "when"), KILLS)
def test_a_kill_at_any_point_leaves_one_of_each(
    launcher: Launcher, name: str, kill: Kill, when: When, arranged: Stack
) -> None:
    scenario, stack = SCENARIOS[name], arranged
    expected = dict(scenario.arrange(stack))
    killed = launcher.start(
        stack.environ, scenario.command(stack), *scenario.also, Fault("kill", kill.point, when, kill.nth)
    )
    scenario.during(stack, killed)
    assert killed.await_end() == -signal.SIGKILL, f"never reached: {kill}\n{killed.passed()}\n{killed.text}"
    began = time.monotonic()
    recover(launcher, stack, scenario, expected)
    print(f"recovered in {time.monotonic() - began:.2f} s")  # noqa: T201 - pytest -s shows it
    assert tally(stack, expected) == EXACT


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_without_a_fault_passes_no_point_that_is_not_listed(
    launcher: Launcher, name: str, arranged: Stack
) -> None:
    scenario, stack = SCENARIOS[name], arranged
    expected = dict(scenario.arrange(stack))
    run = launcher.start(stack.environ, scenario.command(stack), *scenario.also)
    scenario.during(stack, run)
    if scenario.command(stack) == RUN and run.await_end(0) is None:
        await_settled(stack, expected, run, scenario)
    else:
        assert run.await_end() == 0, run.text
    passed = {line.split(" ", 1)[1] for line in run.passed()}
    assert passed - POINTS <= {f"read:{name}" for name in READS} | {
        point.replace("commit:", "read:") for point in POINTS
    }

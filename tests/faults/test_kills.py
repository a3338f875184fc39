"""kill -9 before and after every side effect, in every situation that has its own: the count is right each time."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial

import pytest

from sandbox.nsq import Nsqd
from sandbox.workspace import Workspace
from tests.faults.launcher import Fault, Launcher
from tests.faults.points import POINTS, READS
from tests.faults.scenarios import RUN, SCENARIOS, Kill, Scenario, configured
from tests.faults.seams import When
from tests.faults.tally import EXACT, await_states, tally
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack
from tests.support.waiting import wait_until

KILLS = [
    pytest.param(name, kill, when, id=f"{name}-{kill.point}-{kill.nth}-{when}")
    for name, scenario in SCENARIOS.items()
    for kill in scenario.kills
    for when in ("before", "after")
]


UNLISTED = {f"read:{name}" for name in READS} | {point.replace("commit:", "read:") for point in POINTS}
"""What may be passed without being a point: transactions that wrote nothing."""

TOPICS = ("profiles", "profiles.backfill", "stripe_events")


@pytest.fixture(scope="module")
def kept_nsqd(workspace: Workspace) -> Iterator[Nsqd]:
    """A broker whose channels outlive a test: nsqd takes up to 5 s before it looks at a new channel's timeouts."""
    with Nsqd(workspace) as nsqd:
        for topic in TOPICS:
            nsqd.create_channel(topic, "subkeeper")
        yield nsqd


@pytest.fixture
def arranged(new_stack: NewStack, kept_nsqd: Nsqd, request: pytest.FixtureRequest) -> Stack:
    """A deployment for the scenario of this test; without what `setup` makes where that is what is killed.

    What a killed worker had in hand is delivered again after `nsq.msg_timeout`: nsqd takes nothing back at a hang-up.
    """
    scenario = SCENARIOS[request.getfixturevalue("name")]
    environ = {"SUBKEEPER_NSQ__MSG_TIMEOUT": "1", **scenario.environ}
    if not scenario.is_set_up:
        empty = request.getfixturevalue("empty_database_url")
        return configured(new_stack(nsqd=kept_nsqd, database_url=empty), environ)
    for topic in TOPICS:  # a failed test may have left something
        kept_nsqd.http("POST", "/channel/empty", topic=topic, channel="subkeeper")
    stack = configured(new_stack(nsqd=kept_nsqd, topics=TOPICS), environ)
    stack.prepare()
    return stack


def recover(launcher: Launcher, stack: Stack, scenario: Scenario, expected: dict[str, str]) -> list[str]:
    """The command is given again if it isn't a worker's own, and a worker finishes what is left, and what comes then.

    Returns what was passed, all the way to the end.
    """
    passed: list[str] = []
    command = scenario.command(stack)
    runs = command[0] == "run"
    if not runs:
        again = launcher.start(stack.environ, command)
        assert again.await_end() == 0, again.text
        passed += again.passed()
    stack.expire_leases()
    worker = launcher.start(stack.environ, command if runs else RUN)
    expected |= scenario.afterwards(stack)
    await_states(stack, expected, 20, scenario.refused)
    if scenario.is_done is not None:
        wait_until(partial(scenario.is_done, stack))
    worker.kill()
    return passed + worker.passed()


@pytest.mark.parametrize(("name", "kill", "when"), KILLS)
def test_a_kill_at_any_point_leaves_one_of_each(
    launcher: Launcher, name: str, kill: Kill, when: When, arranged: Stack
) -> None:
    scenario, stack = SCENARIOS[name], arranged
    expected = dict(scenario.arrange(stack))
    fault = Fault("kill", kill.point, when, kill.nth)
    killed = launcher.start(stack.environ, scenario.command(stack), *scenario.also, fault)
    scenario.during(stack, killed)
    assert killed.await_end() == -signal.SIGKILL, f"never reached: {kill}\n{killed.passed()}\n{killed.text}"
    passed = killed.passed() + recover(launcher, stack, scenario, expected)
    assert tally(stack, expected) == EXACT
    assert {line.split(" ", 1)[1] for line in passed} - POINTS <= UNLISTED, "a side effect that is no point"

"""A deploy under traffic, and back again: the release before and this one, side by side on one database and channel."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.faults.servers import QUICK, Source
from tests.faults.tally import EXACT, tally
from tests.integration.provisioning.conftest import NewStack
from tests.support.forked import SUBKEEPER
from tests.support.stack import Spawned, Stack, profile
from tests.support.waiting import wait_until

RELEASE_BEFORE = os.environ.get("SUBKEEPER_RELEASE_BEFORE", "9a573eaa5051d6b5cf23b1c412d5b374d4f92a87")
NEW_SETTINGS = ("SUBKEEPER_NSQ__EVENTS_TOPIC", "SUBKEEPER_NSQ__CHANGES_TOPIC", "SUBKEEPER_WEB__PORT")
"""What the release before refuses as no setting of its own."""

ROOT = Path(__file__).parents[2]
PER_SECOND = 40
SERVED_EACH_TIME = 25
"""Profiles that must be served anew while each pair of processes runs side by side."""


@pytest.fixture(scope="module")
def release_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the code of the release before."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", RELEASE_BEFORE, "worker", "schema"]
    archived = subprocess.run(command, capture_output=True, check=False)
    if archived.returncode != 0:
        pytest.skip(f"{RELEASE_BEFORE} is not in this clone's history")
    directory = tmp_path_factory.mktemp("release-before")
    subprocess.run(["tar", "-x", "-C", directory], input=archived.stdout, check=True)
    return directory


class Releases:
    """Starts commands of either release in one deployment."""

    def __init__(self, stack: Stack, before: Path, directory: Path, closing: ExitStack) -> None:
        self._stack, self._before, self._directory, self._closing = stack, before, directory, closing
        self._started = 0

    def old(self, *arguments: str) -> Spawned:
        known = {name: value for name, value in self._stack.environ.items() if name not in NEW_SETTINGS}
        program = (sys.executable, "-m", "worker")
        return self._spawn(program, known | {"PYTHONPATH": str(self._before)}, arguments)

    def new(self, *arguments: str) -> Spawned:
        return self._spawn((str(SUBKEEPER),), self._stack.environ, arguments)

    def _spawn(self, program: tuple[str, ...], environ: Mapping[str, str], arguments: tuple[str, ...]) -> Spawned:
        self._started += 1
        log = self._directory / f"release-{self._started}.log"
        spawned = Spawned(environ, log, *arguments, program=program)
        self._closing.callback(spawned.kill)
        return spawned


class Traffic:
    """New profiles at an even pace, every third of them published twice, in a thread until `stop`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(1 / PER_SECOND):
            one = profile(f"user-{number}")
            self.source.publish([one])
            if number % 3 == 0:
                self.source.send([self.source.body({**one, "name": "Another name"})])
            number += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(30)


@pytest.fixture
def closing(empty_database_url: str) -> Iterator[ExitStack]:
    with ExitStack() as closing:
        yield closing


@pytest.mark.timeout(300)
def test_a_deploy_and_its_rollback_under_traffic_lose_and_double_nobody(
    new_stack: NewStack, empty_database_url: str, release_before: Path, tmp_path: Path, rng: random.Random,
    closing: ExitStack,
) -> None:  # fmt: skip
    stack = new_stack(database_url=empty_database_url)
    stack.environ |= QUICK
    releases = Releases(stack, release_before, tmp_path, closing)
    assert releases.old("setup").wait() == 0
    stack.control.latency(ms=30)
    source = Source(stack, rng)
    closing.callback(source.close)
    workers = [releases.old("run", "profiles").await_start() for _ in range(2)]
    traffic = Traffic(source)
    closing.callback(traffic.stop)
    await_served_anew(stack)
    assert releases.new("db", "upgrade").wait() == 0
    await_served_anew(stack)
    new, old = partial(releases.new, "run", "all"), partial(releases.old, "run", "profiles")
    for start in (new, new, old, old):
        leaving = workers.pop(0)
        leaving.send(signal.SIGTERM)
        workers.append(start().await_start())
        assert leaving.wait() == 0, leaving.text
        await_served_anew(stack)
    traffic.stop()
    stack.await_completed(*source.profiles, timeout=60)
    wait_until(stack.is_drained, timeout=20)
    assert tally(stack, dict.fromkeys(source.profiles, "completed")) == EXACT


def await_served_anew(stack: Stack) -> None:
    before = served(stack)
    wait_until(lambda: served(stack) >= before + SERVED_EACH_TIME, timeout=30, what="somebody is served")


def served(stack: Stack) -> int:
    found: int = stack.rows("SELECT count(*) AS n FROM provisionings WHERE state = 'completed'")[0]["n"]
    return found

"""The ways of a message and of a lease through the files, as docs/design.md lists them."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import worker
from tests.support.stack import Stack, profile
from worker.runtime.provisioning import Provisioning
from worker.runtime.resources import Resources
from worker.telemetry import Health, Metrics
from worker.threads import Threads

assert worker.__file__ is not None
WORKER = Path(worker.__file__).parent
DESIGN = (Path(__file__).parents[3] / "docs" / "design.md").read_text()
OPENING = "store/engine/prepared.py"
"""Runs where a connection is opened."""

LEAVES = ("telemetry", "domain", "sealing.py", "errors.py")
"""Rules, what is told of them, and words: they don't count."""


class Trace:
    """The files that run in each thread of a name, in the order in which they first do, since `begins` returned there.

    Each thread by itself: one that is told to stop must not end the way of one that is committing.
    """

    def __init__(self, thread: str, begins: str) -> None:
        self.thread = thread
        self.begins = begins
        self.at_commits: list[list[str]] = []
        self._files: dict[str, dict[str, None]] = {}

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        thread = threading.current_thread().name
        if not thread.startswith(self.thread):
            return
        name = frame.f_code.co_name if event == "return" else getattr(arg, "__name__", "")
        if event in {"return", "c_return"} and name == self.begins:
            self._files[thread] = {}
        if event == "return" and name == "do_commit":
            self.at_commits.append(list(self._files.get(thread, ())))
        running = frame.f_back if event == "return" else frame
        if event in {"call", "return"} and running is not None:
            self._run(thread, Path(running.f_code.co_filename))

    def _run(self, thread: str, file: Path) -> None:
        if file.is_relative_to(WORKER):
            inside = file.relative_to(WORKER)
            if inside.parts[0] not in LEAVES:
                self._files.setdefault(thread, {})[str(inside)] = None

    def way_with(self, file: str) -> list[str]:
        """The files up to the last commit before which `file` ran, and for which no connection was opened."""
        return next(files for files in reversed(self.at_commits) if file in files and OPENING not in files)


@contextmanager
def traced(stack: Stack, rng: random.Random, trace: Trace) -> Iterator[None]:
    """A worker in this process whose threads are traced."""
    resources = Resources(stack.settings(), Metrics("test"), Health([]), rng)
    service, threads = Provisioning(resources), Threads(on_failure=lambda name: None)
    resources.require_schema()
    resources.require_deployment()
    threading.setprofile(trace)
    try:
        service.start(threads)
    finally:
        threading.setprofile(None)
    try:
        yield
    finally:
        service.stop()
        assert threads.join(20) == []
        service.close()
        resources.close()


def listed(title: str) -> list[str]:
    """The files that design.md lists under these words."""
    block = re.search(rf"{re.escape(title)}.*?```\n(.*?)```", DESIGN, re.DOTALL)
    assert block, title
    return re.findall(r"[\w/]+\.py", block[1])


def passed(stack: Stack, rng: random.Random, trace: Trace, file: str) -> list[str]:
    with traced(stack, rng, trace):
        for number in range(3):  # the first one opens connections
            stack.publish(profile(f"user-{number}"))
            stack.await_completed(f"user-{number}")
    return trace.way_with(file)


@pytest.mark.parametrize(
    ("title", "trace", "ends_after", "most"),
    [
        ("A message, from its socket to its row", Trace("absorber", "recv"), "store/provisioning/insert.py", 10),
        ("A lease, through Stripe and back", Trace("settler", "_next_lease"), "store/provisioning/steps.py", 16),
    ],
    ids=["message", "lease"],
)
def test_the_way_through_the_files_is_the_one_that_the_design_lists(
    stack: Stack, rng: random.Random, title: str, trace: Trace, ends_after: str, most: int
) -> None:
    way = passed(stack, rng, trace, ends_after)
    assert len(way) <= most, way
    assert listed(title) == way

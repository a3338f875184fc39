"""A worker whose log can't be written works, and drains when it is told to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox import ports
from tests.support.forked import SUBKEEPER
from tests.support.stack import Http, Stack, profile, users
from tests.support.waiting import wait_until

Output = Callable[[], int]


def closed_pipe() -> int:
    """Its reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def stuck_pipe() -> int:
    """It is full, and its reader does nothing."""
    _, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    return writing


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.fixture
def worker(
    stack: Stack, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Http]]:
    """`subkeeper run profiles` with this output; None: closed before it starts."""
    http = Http()
    http.port = ports.free_port()
    command = [str(SUBKEEPER), "run", "profiles"]
    output: int | None = None
    if request.param is None:
        command = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-', *command]
    else:
        output = request.param()
    environ = {**stack.environ, "SUBKEEPER_HEALTH__PORT": str(http.port)}
    process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, cwd=tmp_path)
    yield process, http
    process.kill()
    process.wait(10)


@pytest.mark.parametrize(
    "worker",
    [closed_pipe, stuck_pipe, full_disk, None],
    indirect=True,
    ids=lambda each: getattr(each, "__name__", "closed"),
)
def test_it_works_and_drains_all_the_same(stack: Stack, worker: tuple[subprocess.Popen[bytes], Http]) -> None:
    process, http = worker
    stack.publish(*[profile(name) for name in users(5)])
    stack.await_completed(*users(5))
    wait_until(http.is_ready)
    assert http.metric("subkeeper_log_lines_lost_total", reason="unwritable") > 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not stack.nsqd.channel(stack.topic, "subkeeper")["clients"]
    stack.assert_exactly_one(*users(5))

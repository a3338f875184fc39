"""The Procfile under a real supervisor: honcho."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until

PROCFILE = Path(__file__).parents[3] / "Procfile"
PROCESSES = len(PROCFILE.read_text().splitlines())


@contextmanager
def honcho(stack: Stack, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`honcho start` as an ops person runs it, the environment's commands on PATH."""
    scripts = Path(sys.executable).parent
    ports = dict.fromkeys(("EVENTS_HEALTH_PORT", "RELAY_HEALTH_PORT", "WEB_HEALTH_PORT", "POLLER_HEALTH_PORT"), "0")
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    environ = {**stack.environ, **ports, "PATH": path, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "honcho", "-f", str(PROCFILE), "start"],
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,
        )
    try:
        yield supervisor
    finally:
        if supervisor.poll() is None:
            os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait(10)


def test_the_procfile_runs_a_worker_that_serves_and_drains(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "honcho.log"
    with honcho(stack, log) as supervisor:
        wait_until(lambda: log.read_text().count("process.started") == PROCESSES, what="all processes have started")
        stack.publish(profile("ada"))
        stack.await_completed("ada")
        told = "SELECT 1 FROM subscription_changes WHERE user_id = 'ada' AND sent_at IS NOT NULL"
        wait_until(lambda: stack.rows(told), what="the change is published")
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(30)
    said = log.read_text()
    assert said.count('"process.draining"') == PROCESSES
    assert said.count('"process.stopped"') == PROCESSES
    stack.assert_exactly_one("ada")


def test_a_worker_that_may_not_start_ends_its_supervisor_with_its_reason(stack: Stack, tmp_path: Path) -> None:
    log = tmp_path / "honcho.log"
    stack.environ["SUBKEEPER_NSQ__CHANNEL"] = "forgetful#ephemeral"
    with honcho(stack, log) as supervisor:
        assert supervisor.wait(30) == 2
    assert "SUBKEEPER_NSQ__CHANNEL: is ephemeral" in log.read_text()

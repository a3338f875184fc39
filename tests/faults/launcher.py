"""Runs `subkeeper` in a process of its own that meets one fault at one point of its own doing.

Processes are forked from one that has imported the worker already (`tests.support.forked`).
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import psycopg

import worker.quarantine.actions
import worker.runtime.backfilling
import worker.runtime.process
import worker.runtime.setup
from tests.faults import seams
from tests.faults.seams import When
from tests.support.forked import start
from tests.support.waiting import BUSY
from worker.cli import main
from worker.domain import budget, doubt, polling, provisioning
from worker.domain.deadline import boot_time
from worker.events import intake
from worker.runtime import accounts, watch
from worker.runtime.outside import Outside
from worker.stripe_api import catalogue
from worker.work import halting


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens when `point` is passed for the `nth` time.

    kill: SIGKILL, at once. stop: SIGSTOP, of the whole process. suspend: the machine sleeps for `seconds`, as the
    clock that counts suspension tells it. terminate: each statement's backend is terminated before the statement's
    first passing and after its second; `point` is of no matter. none: nothing.
    """

    action: Literal["kill", "stop", "suspend", "terminate", "none"] = "none"
    point: str = ""
    when: When = "before"
    nth: int = 1
    seconds: float = 0.0


class Injector:
    """Counts what is passed, writes it to `record`, and does what the faults say."""

    def __init__(self, faults: Sequence[Fault], record: Path, database_url: str) -> None:
        self._faults = faults
        self._record = record.open("a", buffering=1)
        self._database_url = database_url
        self._passings: Counter[tuple[When, str]] = Counter()
        self._lock = threading.Lock()
        self._terminates = any(fault.action == "terminate" for fault in faults)
        self._suspended = 0.0

    def clock(self) -> float:
        """`boot_time`, as if the machine had been suspended."""
        return boot_time() + self._suspended

    def passed(self, when: When, point: str) -> None:
        with self._lock:
            self._passings[when, point] += 1
            self._record.write(f"{when} {point}\n")
            for fault in self._faults:
                if (fault.when, fault.point, fault.nth) == (when, point, self._passings[when, point]):
                    self._act(fault)

    def _act(self, fault: Fault) -> None:
        if fault.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.action == "stop":
            # Of this thread, which stops the process with it: sent to the process, it may be another thread that takes
            # it, and this one goes on for milliseconds, into the middle of a transaction.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        elif fault.action == "suspend":
            self._suspended += fault.seconds

    def at_statement(self, when: When, name: str, backend: int) -> None:
        """Without the lock around the termination: statements of other threads go on meanwhile."""
        if not self._terminates:
            return
        with self._lock:
            self._passings[when, name] += 1
            struck = self._passings[when, name] == (1 if when == "before" else 2)
        if struck:
            with psycopg.connect(self._database_url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s, 2000)", (backend,))
            with self._lock:
                self._record.write(f"terminated {when} {name}\n")


def run() -> None:
    """In the new process, with the faults and a file for what it passes before its arguments: the command."""
    name, faults, record, *arguments = sys.argv
    sys.argv = [name, *arguments]
    _be_quick()
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)  # to ask a worker that hangs where it does
    found = [Fault(**fault) for fault in json.loads(faults)]
    injector = Injector(found, Path(record), os.environ["SUBKEEPER_DATABASE__URL"])
    seams.install(injector.passed, injector.at_statement)
    command = importlib.import_module("worker.cli.run")
    command.Process = partial(worker.runtime.process.Process, outside=Outside(clock=injector.clock))  # type: ignore[attr-defined]  # the seam
    main(prog_name="subkeeper")


def _be_quick() -> None:
    """Waits that a test would only sit through: before a first retry, and between two probes of what is away."""
    provisioning.FIRST_RETRY = 0.1
    budget.LEAST_RATE = 500.0  # the rate of who was killed lies idle for a while
    doubt.GRACE = 0.3
    accounts.WATCH_SECONDS = 0.2
    halting.PROBE_INTERVAL = halting.LONGEST_PAUSE = catalogue.RECHECK_INTERVAL = watch.WATCH_INTERVAL = 0.2
    watch.CLEAN_EVERY = 5
    polling.SHORTEST = polling.LONGEST = polling.LONGEST_RETRY = timedelta(seconds=0.2)
    intake.TICK = 0.1
    worker.runtime.process.OPENING_PAUSE = 0.2


class Launched:
    """One command under faults; `log` is its output, `record` what it passed."""

    def __init__(
        self, log: Path, environ: Mapping[str, str], arguments: Sequence[str], faults: Sequence[Fault]
    ) -> None:
        self.log = log
        told = json.dumps([asdict(fault) for fault in faults])
        with log.open("ab") as output:
            self.process = start(
                [told, log.with_suffix(".record"), *arguments], environ=environ, directory=log.parent,
                stdout=output.fileno(), stderr=output.fileno(), program=f"{__name__}:{run.__name__}",
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def await_end(self, timeout: float = 20.0) -> int | None:
        """The exit code, negative for a signal's number; None if it still runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout * BUSY)
        return None

    def await_stop(self, timeout: float = 20.0) -> None:
        """Returns once SIGSTOP holds it."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        deadline = time.monotonic() + timeout * BUSY
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, f"never stopped\n{self.text}"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, safe to repeat."""
        self.process.kill()
        self.process.wait(10)

    @property
    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def passed(self, *, terminated: bool = False) -> list[str]:
        """`"<when> <point>"` for all it passed, in order; or for the statements whose backend it terminated.

        Nothing where it was killed before it had come to anything.
        """
        record = self.log.with_suffix(".record")
        lines = record.read_text().splitlines() if record.exists() else []
        return [line.removeprefix("terminated ") for line in lines if line.startswith("terminated ") is terminated]


class Launcher:
    """Starts commands; `close` kills those that are left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._launched: list[Launched] = []

    def start(self, environ: Mapping[str, str], arguments: Sequence[str], *faults: Fault) -> Launched:
        log = self._directory / f"launched-{len(self._launched)}.log"
        launched = Launched(log, environ, arguments, faults)
        self._launched.append(launched)
        return launched

    def close(self) -> None:
        for launched in self._launched:
            launched.kill()

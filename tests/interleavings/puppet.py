"""A thread that runs only while the test lets it, from one gate to the next: of any number, one runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from tests.interleavings.wire import Flight

PATIENCE = 30.0
"""Seconds in which a thread must reach its next gate: more than any lock or statement timeout of the test."""


class Order(Enum):
    """What a thread is told at its gate. `FAIL`: the commit, or the request's answer, is lost."""

    GO = auto()
    FAIL = auto()
    FAIL_AT_ONCE = auto()
    DIE = auto()


class Place(Enum):
    """Where a thread waits: at a request to Stripe, before a commit, or after one."""

    REQUEST = auto()
    COMMIT = auto()
    COMMITTED = auto()


@dataclass(frozen=True, slots=True)
class Gate:
    place: Place
    flight: Flight | None = None


class Killed(BaseException):
    """Ends a thread where it stands; no handler of the worker's catches it."""


class Puppet:
    """Runs one program at a time. `at`: the gate where it waits; None: it has nothing to do."""

    def __init__(self) -> None:
        self.at: Gate | None = None
        self._thread: threading.Thread | None = None
        self._turn = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._order = Order.GO
        self._error: BaseException | None = None

    def perform(self, program: Callable[[], None]) -> None:
        """Starts `program` and lets it run to its first gate, or its end."""
        assert self.at is None, "one program at a time"
        self._thread = threading.Thread(target=self._run, args=(program,), daemon=True)
        self._thread.start()
        self._wait()

    def go(self, order: Order = Order.GO) -> None:
        """Lets it run from its gate to the next one, or its end. Raises what the program raised."""
        assert self.at is not None, "it waits nowhere"
        self._order = order
        self._turn.release()
        self._wait()

    def kill(self) -> None:
        while self.at is not None:
            self.go(Order.DIE)

    def pass_gate(self, gate: Gate) -> Order:
        """For the program: waits for an order. Raises `Killed`. Another thread than the puppet's isn't held."""
        if threading.current_thread() is not self._thread:
            return Order.GO
        self.at = gate
        self._stopped.release()
        self._turn.acquire()
        if self._order is Order.DIE:
            raise Killed
        return self._order

    def _run(self, program: Callable[[], None]) -> None:
        try:
            program()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the test waits
            self._error = error
        finally:
            self.at = None
            self._stopped.release()

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=PATIENCE), f"hangs after {self.at}"
        if self.at is None:
            assert self._thread is not None
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

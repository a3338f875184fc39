"""Threads whose death ends the process: work that silently stops is worse than a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog


class Threads:
    """Runs named daemon threads; `on_failure` hears the name of each that raises."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []

    def spawn(self, name: str, target: Callable[[], None]) -> None:
        def run() -> None:
            try:
                target()
            except Exception as error:  # noqa: BLE001 - whatever it is, the process must end because of it
                structlog.get_logger().critical("thread.crashed", thread=name, exc_info=error)
                self._on_failure(name)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def alive(self) -> list[str]:
        return [thread.name for thread in self._threads if thread.is_alive()]

    def join(self, timeout: float) -> list[str]:
        """Waits up to `timeout` seconds for all; returns the names of those still running."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self.alive()

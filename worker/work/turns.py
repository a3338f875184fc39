"""A loop's turns: one that fails is taken again after the pause, whatever it was."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from worker.errors import TryLater, Unavailable, Unforeseen
from worker.telemetry import Watchdog


class Turns:
    """`take` takes one, watched by `watchdog`. A bug is told once, until a turn ends well."""

    def __init__(self, turn: Callable[[], None], watchdog: Watchdog) -> None:
        self._turn = turn
        self._watchdog = watchdog
        self._crashed = False
        self._log = structlog.get_logger(__name__)

    def take(self) -> None:
        try:
            with self._watchdog.work():
                self._turn()
            self._crashed = False
        except (Unavailable, TryLater):
            pass
        except Unforeseen as error:
            if not self._crashed:
                self._log.critical("sweep.crashed", exc_info=error)
            self._crashed = True

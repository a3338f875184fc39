"""Ctrl-C and SIGTERM, but not amid what must be done whole."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """Both as KeyboardInterrupt: at once, or at the end of `held`."""

    def __init__(self) -> None:
        self._is_held = self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in {signal.default_int_handler, signal.SIG_DFL}:  # not where it is ignored
                signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True
        if not self._is_held:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._asked:
            raise KeyboardInterrupt

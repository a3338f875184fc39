"""Where log lines go. A line that can't be written is counted and dropped: a log is never worth a worker's life."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from dataclasses import dataclass
from typing import TextIO

PATIENCE = 1.0
"""Seconds to wait for a pipe whose reader is slow; none after one for which that was not enough."""

PIPE_BUF = 4096
"""Bytes for which a pipe that is ready has room (Linux)."""


@dataclass(slots=True)
class Losses:
    """Log lines of this process that nobody will read: `unwritable` ones, and `repeated` ones of libraries."""

    unwritable: int = 0
    repeated: int = 0


LOSSES = Losses()
"""One for the process, as logging is."""


class LogStream:
    """Writes whole lines to `stream`, past its buffer where it has a descriptor: what a broken pipe left in there would
    fail once more when Python exits, and with it the exit code. Safe from any thread.

    `stream` may be None: Python's for a standard stream that was closed before it started.
    """

    def __init__(self, stream: TextIO | None, losses: Losses = LOSSES) -> None:
        self._stream = stream
        self._losses = losses
        self._lock = threading.Lock()
        self._patience = PATIENCE
        self._torn = False
        self._descriptor: int | None = None
        self._poll = select.poll()
        with contextlib.suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
                self._descriptor = stream.fileno()
                self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        """Writes a line, or counts it as lost; never raises."""
        with self._lock:
            try:
                self._write(text)
                self._patience = PATIENCE
            except (OSError, ValueError) as broken:
                self._losses.unwritable += 1
                self._patience = 0.0 if isinstance(broken, BlockingIOError) else PATIENCE

    def flush(self) -> None:
        """Nothing: a line is written at once."""

    def _write(self, text: str) -> None:
        if self._descriptor is not None:
            self._write_bytes(self._descriptor, text.encode("utf-8", "backslashreplace"))
        elif self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
        else:
            raise ValueError("there is no stream")

    def _write_bytes(self, descriptor: int, line: bytes) -> None:
        left = memoryview(b"\n" + line if self._torn else line)
        whole = len(left)
        while left:
            if not self._poll.poll(self._patience * 1000):
                raise BlockingIOError
            left = left[os.write(descriptor, left[:PIPE_BUF]) :]
            self._torn = 0 < len(left) < whole

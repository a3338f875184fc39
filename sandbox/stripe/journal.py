"""What survives a kill -9: one JSON line per transaction, handed to the operating system before the answer leaves.

A line holds the objects and the idempotency result together, so a kill leaves both or neither. Not synced to disk:
it outlives the process, not the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class UnusableJournalError(ValueError):
    """The file holds something else."""


class Journal:
    """Append-only; `entries` reads what earlier processes wrote and cuts off a torn last line.

    Both raise OSError; `entries` raises `UnusableJournalError` for a file that no such process wrote, and leaves it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def entries(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        whole = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.startswith(b"{"):
                    raise UnusableJournalError(f"{self._path} holds something else")
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield self._entry(line)
        os.truncate(self._path, whole)

    def _entry(self, line: bytes) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            entry = {}
        if not entry.keys() & {"put", "clock", "retries", "attempt", "version"}:
            raise UnusableJournalError(f"{self._path} holds something else")
        return entry

    def open(self) -> None:
        """Makes the file, so that one that can't be written is told before anything is to be kept."""
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, entry: dict[str, Any]) -> None:
        self.open()
        assert self._file is not None, "open"
        os.write(self._file, json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def clear(self) -> None:
        """Forgets everything."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

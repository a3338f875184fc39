"""What a backfill keeps beside its input: how far it got, what was refused, and whose profiles it read.

The first two hold personal data or digests of it, and are readable by their owner alone; the third has no name.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from worker.errors import SubkeeperError

_VERSION = 1


class UnusableProgress(SubkeeperError):
    """The file of progress is of no use for this input."""


@dataclass(slots=True)
class Progress:
    """How far a backfill got: all up to line `line` is on `topic`, or among the refused.

    `digest` (SHA-256, hex) is of all records up to there; `rejects_bytes` is the reject file's length then;
    `started_at` the database's time (UTC) when the backfill began, however often it was resumed.
    """

    started_at: datetime
    topic: str
    line: int = 0
    digest: str = ""
    records: int = 0
    published: int = 0
    rejects_bytes: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


_FIELDS = [each.name for each in fields(Progress)]


class ProgressFile:
    """Keeps `Progress` across kills: each save replaces the file whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._new = path.with_name(path.name + ".new")

    def load(self) -> Progress | None:
        """What was saved; None if nothing was. Raises `UnusableProgress`, OSError."""
        try:
            saved: dict[str, Any] = json.loads(self.path.read_bytes())
            _require_version(saved.pop("version"))
            saved |= {"started_at": datetime.fromisoformat(saved["started_at"]), "rejected": Counter(saved["rejected"])}
            return Progress(**saved)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UnusableProgress(f"{self.path} can't be read; begin anew with --restart") from None

    def save(self, progress: Progress) -> None:
        """Raises OSError."""
        values = {name: getattr(progress, name) for name in _FIELDS}
        saved = {"version": _VERSION, **values, "started_at": progress.started_at.isoformat()}
        with _own(self._new, os.O_TRUNC) as file:
            file.write(json.dumps(saved).encode())
            file.flush()
            os.fsync(file.fileno())
        self._new.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class Rejects:
    """The file of refused records, as they came, under the header of a CSV file: to be mended and given again.

    It begins after `kept` bytes, what a killed run wrote beyond them is cut off; one that stays empty is removed.
    """

    def __init__(self, path: Path, header: bytes, kept: int) -> None:
        self.path = path
        self._file = _own(path, 0)
        self._is_regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if self._is_regular:
            self._file.truncate(kept)
            self._file.seek(kept)
        self._header = header if kept == 0 else b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._is_regular and self.path.stat().st_size == 0:
            self.path.unlink()

    def add(self, raw: bytes) -> None:
        for text in (self._header, raw):
            self._file.write(text if not text or text.endswith(b"\n") else text + b"\n")
        self._header = b""

    def flushed(self) -> int:
        """The file's length, everything written."""
        self._file.flush()
        return self._file.tell() if self._is_regular else 0


def reject_file_for(source: Path) -> Path:
    """Where to keep what is refused of `source`: beside a file. What comes through a pipe can't be read again, so that
    gets a new file of its own, here or (where this folder can't be written) among temporary files. Raises OSError."""
    if source.is_file():
        return source.with_name(source.name + ".rejects")
    folder = Path.cwd() if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir())
    descriptor, name = tempfile.mkstemp(".rejects", f"subkeeper-backfill-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-", folder)
    os.close(descriptor)
    return Path(name)


class Users:
    """Ids of users, kept on disk in a file without a name: as many as there are, in constant memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed with this object
        self.is_empty = True

    def add(self, user_id: str) -> None:
        self.is_empty = False
        self._file.write(json.dumps(user_id) + "\n")

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        yield from map(json.loads, self._file)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        self._file.close()


def _require_version(version: object) -> None:
    if version != _VERSION:
        raise ValueError("another version's file")


def _own(path: Path, flags: int) -> IO[bytes]:
    """The file, open for writing, and readable by its owner alone even if others could read it before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")

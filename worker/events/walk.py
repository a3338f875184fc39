"""How far a walk of `subkeeper verify` got, and what it found: a file that another run goes on from.

A line of JSON for each step, appended once the step is done, so that a kill at any moment loses none. It holds ids and
states, nothing personal, and is readable by its owner alone. Memory doesn't grow with it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from worker.domain.drift import Finding, Repair
from worker.errors import Misconfigured, SubkeeperError

_VERSION = 1
_BEGIN = b'{"began":'
"""What such a file begins with; anybody else's is left as it is."""


@dataclass(slots=True)
class Walked:
    """What was compared (those of a page, and each that was asked for), and what came of it. `in_flight`: differences
    that were gone, or on their way, at the second look. `left`: differences that are not mended; `mendable`: those of
    them that a fetch would mend."""

    subscriptions: int = 0
    in_flight: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)
    left: int = 0
    mendable: int = 0

    @property
    def differences(self) -> int:
        return self.kinds.total()

    def add(self, found: Mapping[str, Any]) -> None:
        self.kinds[found["kind"]] += 1
        if found["repair"] is not None:
            self.repairs[found["repair"]] += 1
        if found["repair"] != Repair.DONE:
            self.left += 1
            self.mendable += bool(found["mendable"])


class Listed(NamedTuple):
    """What a page of Stripe's list had, and what the next one follows (None: it was the last)."""

    ids: Sequence[str]
    seen_from: datetime
    after: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk is: through with so many of Stripe's `lists`, and in the next one at the page that follows `after`;
    then among our rows that were on none, up to `asked`; then in our tables, up to `customers` and `profiles`."""

    after: str | None = None
    lists: int = 0
    asked: int = 0
    customers: int = 0
    profiles: str = ""


class Walk:
    """One walk, however often it is interrupted. `walked` is what all of its runs came to, `told_before` how many
    differences the earlier ones told. `seen_from`: of its first page (Stripe's time); None: there was none yet.
    `is_under_way`: whether this run may have added to it, and another one can go on."""

    def __init__(self, path: Path | None, *, resumed: bool = False) -> None:
        """Raises `Misconfigured` where there is nothing to go on from or no file can be, and `SubkeeperError` where
        another run is at it. `path` None: in a file without a name."""
        self.path = path
        self.is_under_way = False
        self.place = Place()
        self.walked = Walked()
        self.seen_from: datetime | None = None
        self._began: dict[str, Any] = {}
        self._told: set[tuple[str, ...]] = set()  # since the last step: whoever goes on from there finds them again
        self._file = _unnamed() if path is None else _locked(path, resumed=resumed)
        if resumed:
            try:
                self._load()
            except Misconfigured:
                self._file.close()
                raise
        self.told_before = self.walked.differences

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file.seek(0, os.SEEK_END) == 0:
            self.finish()
        self._file.close()

    def finish(self) -> None:
        """There is nothing to go on from any more."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def begin(self, now: datetime, *, database: str, repair: bool) -> datetime:
        """When the walk began: `now` (the database's time), unless it is resumed. Raises `Misconfigured` where it was
        begun for another database, or in the other manner."""
        whose = {"version": _VERSION, "database": database, "repair": repair}
        if not self._began:
            with self._explained():
                self._file.truncate(0)
            self._append({"began": {**whose, "at": now.isoformat()}})
        for name, other in _OTHERS.items():
            if self._began[name] != whose[name]:
                raise Misconfigured("--resume", f"{self.path} is of {other}", "Begin anew, without it.")
        self.is_under_way = self.path is not None
        return datetime.fromisoformat(self._began["at"])

    # What was done

    def compared(self, page: Listed) -> None:
        first = (self.seen_from or page.seen_from).isoformat()
        lists = self.place.lists + (page.after is None)
        at = {"in_flight": self.walked.in_flight, "seen_from": first}
        self._append({"page": page.ids, **at, "place": {"after": page.after, "lists": lists}})

    def passed(self, **place: int | str) -> None:
        """A step of another kind, by the fields of `Place`."""
        self._append({"place": place})

    def told(self, finding: Finding) -> None:
        """A difference, once it was told."""
        self._append({"found": finding.as_object() | {"mendable": finding.mendable}})

    def was_told(self, finding: Finding) -> bool:
        """Whether it was told since the last step."""
        return _identity(finding.as_object()) in self._told

    def seen(self) -> Iterator[str]:
        """The ids on all pages."""
        for entry in self._entries():
            yield from entry.get("page", ())

    # The file

    def _append(self, entry: Mapping[str, object]) -> None:
        line = json.dumps(entry, default=datetime.isoformat).encode() + b"\n"
        with self._explained():
            self._file.seek(0, os.SEEK_END)
            if self._file.write(line) < len(line):  # the next write would say why
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._take(entry)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = self.path or tempfile.gettempdir()
            raise SubkeeperError(f"{where} can't be written: {error.strerror}") from error

    def _entries(self) -> Iterator[dict[str, Any]]:
        """All that are whole; what a kill left of the last one is cut off."""
        end = 0
        self._file.seek(0)
        with os.fdopen(os.dup(self._file.fileno()), "rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    self._file.truncate(end)
                    return
                end += len(line)
                yield json.loads(line)

    def _load(self) -> None:
        try:
            for entry in self._entries():
                self._take(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Misconfigured("--resume", f"{self.path} can't be read", "Begin anew, without it.") from None
        if not self._began:
            raise Misconfigured("--resume", f"{self.path} has nothing to go on from", "Begin anew, without it.")

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "began" in entry:
            self._began = entry["began"]
        elif "found" in entry:
            self.walked.add(entry["found"])
            self._told.add(_identity(entry["found"]))
        else:
            self.place = replace(self.place, **entry["place"])
            self.walked.subscriptions += "asked" in entry["place"]
            self._told.clear()
        if "page" in entry:
            self.walked.subscriptions += len(entry["page"])
            self.walked.in_flight = entry["in_flight"]
            self.seen_from = datetime.fromisoformat(entry["seen_from"])


_OTHERS = {
    "version": "another version of Subkeeper",
    "database": "another database",
    "repair": "a walk that was begun with the other choice of --repair",
}


def _identity(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(found[name] or "" for name in ("kind", "user_id", "stripe_subscription_id", "stripe_customer_id"))


def _unnamed() -> IO[bytes]:
    return tempfile.TemporaryFile("r+b", buffering=0)


def _locked(path: Path, *, resumed: bool) -> IO[bytes]:
    """The file, which no other run has."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if resumed else os.O_CREAT)
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
    except OSError as error:
        if resumed and isinstance(error, FileNotFoundError):
            raise Misconfigured("--resume", f"there is no {path} to go on from", "Begin anew, without it.") from None
        raise Misconfigured("--progress", f"{path}: {error.strerror}", "Name another file.") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # it is removed at the end
        file.close()
        raise Misconfigured("--progress", f"{path} is no regular file", "Name another file.")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SubkeeperError(f"another verify has {path}: give --progress another file") from None
    if not _BEGIN.startswith(os.pread(file.fileno(), len(_BEGIN), 0)):
        file.close()
        raise Misconfigured("--progress", f"{path} holds something else", "Name another file.")
    return file

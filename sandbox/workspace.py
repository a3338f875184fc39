"""A directory and the processes that live in it, both gone when their owner is, however it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TextIO

from sandbox import guardian
from sandbox.errors import PartFailed

_REGISTER = 'echo "$$ $0" >&0; exec "$@" </dev/null'
"""A shell's one line: tell the guardian (standard input is its pipe) who we are, then become the program.

The line is written before the program exists, so there is no moment in which a kill of the owner leaves it unknown.
"""


_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux's own; the directory in it is checked to be ours

ENOUGH_MEMORY = 4 * 1024**3
"""Bytes that must be free there: Postgres's log alone may grow to 1 GiB, and everybody else wants some too."""


class Workspace:
    """A new directory for parts to keep their data in, watched by a guardian process (see `guardian`).

    `close` (or leaving the `with` block, or any end of this process) ends what still runs and removes the directory.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """`parent`: the directory to make it in, for data on a certain disk; by default see `base_directory`."""
        base = base_directory(parent)
        with _locked(base / "lock", fcntl.LOCK_EX):  # so that no other's sweep meets a directory without its lock
            _sweep(base)
            self.path = Path(tempfile.mkdtemp(prefix="sandbox-", dir=base))
            self._lock = _locked(self.path / "lock", fcntl.LOCK_SH)
        _let_other_users_through(self.path)
        (self.path / "processes").touch()
        self._guardian = _start_guardian(self.path)

    def spawn(
        self, command: Sequence[str], *, log: Path, stop_signal: int, user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Starts a program under the guardian's eyes, its output appended to `log`, as `user` if given.

        It has a session of its own: a Ctrl-C in the terminal reaches the owner alone, which stops it in its turn.
        """
        with log.open("ab") as output:
            return subprocess.Popen(
                ["/bin/sh", "-c", _REGISTER, str(int(stop_signal)), *command],
                stdin=self._guardian.stdin, stdout=output, stderr=output, cwd=self.path, start_new_session=True,
                user=user, env=dict(env) if env is not None else None,
            )  # fmt: skip

    def close(self) -> None:
        """Ends every process still running here (by its signal, then by SIGKILL) and removes the directory."""
        if self._guardian.stdin and not self._guardian.stdin.closed:
            self._guardian.stdin.close()
            self._guardian.wait()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def base_directory(parent: Path | None = None) -> Path:
    """Where this user's sandboxes are: one directory per user below `parent`.

    By default that is memory where there is plenty (a sandbox's data dies with it, so it need not wait for a disk),
    unless TMPDIR names a place; else the system's temporary directory. Raises `PartFailed` when somebody else made the
    directory: files there could be theirs.
    """
    base = (parent or _memory() or Path(tempfile.gettempdir())) / f"subkeeper-{os.geteuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.geteuid():
        raise PartFailed("sandbox", f"{base} belongs to somebody else; set TMPDIR to a directory of your own")
    _let_other_users_through(base)
    return base


def everybody_reaches(path: Path) -> bool:
    """Whether every user may pass all folders above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def _memory() -> Path | None:
    if "TMPDIR" in os.environ or not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= ENOUGH_MEMORY else None


def _let_other_users_through(directory: Path) -> None:
    """Root's sandbox runs Postgres as another user, who must get to its data (but need not list what is here)."""
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _start_guardian(directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "guardian.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", guardian.__name__, str(directory)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _sweep(base: Path) -> None:
    """Cleans up after sandboxes whose owner and guardian were both killed: nobody holds their lock any more."""
    for directory in base.glob("sandbox-*"):
        try:
            lock = _locked(directory / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use, or being removed at this moment
        with lock:
            if (directory / "processes").exists():
                guardian.clean_up(directory)
            shutil.rmtree(directory, ignore_errors=True)


def _locked(path: Path, operation: int) -> TextIO:
    handle = path.open("a")
    try:
        fcntl.flock(handle, operation)
    except OSError:
        handle.close()
        raise
    return handle

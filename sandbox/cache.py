"""The user's cache: what is built or fetched once per machine, under a directory named by its version."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def directory() -> Path:
    """Where Subkeeper keeps it: `$XDG_CACHE_HOME/subkeeper`, else `~/.cache/subkeeper`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "subkeeper"


def once(target: Path, make: Callable[[Path], None], announce: str) -> Path:
    """`target`, filled by `make` unless it is there; one process makes it while others wait.

    `make` gets an empty directory that becomes `target` when it returns: no reader ever sees half of one.
    `announce` goes to standard error before, for whoever wonders what takes so long.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            sys.stderr.write(f"{announce}\n")
            sys.stderr.flush()
            _make(target, make)
    return target


def _make(target: Path, make: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        make(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)

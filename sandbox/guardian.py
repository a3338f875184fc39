"""The guardian: outlives its sandbox by a moment, to end its processes and remove its directory.

Run as a program, with the sandbox's directory as its argument and a pipe as its standard input. Each process of the
sandbox writes one line, `<pid> <signal that ends it>`, before it becomes the program that it is to run. The pipe ends
when the sandbox's own process ends, even by SIGKILL; then the guardian sets to work. It notes the processes in
`processes` in that directory, so that the next sandbox can do the work should the guardian be killed as well.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
from pathlib import Path
from typing import TextIO

from sandbox import processes

GRACE = 5.0
"""Seconds that a process gets to end by itself: far more than any part of the sandbox takes."""


def main(directory: Path, lines: TextIO) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    with (directory / "lock").open() as lock, (directory / "processes").open("a") as journal:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for line in lines:
            _note(line, journal)
        clean_up(directory)


def _note(line: str, journal: TextIO) -> None:
    pid, signum = map(int, line.split())
    process = processes.identify(pid)
    if process is not None:
        journal.write(f"{pid} {process.create_time()!r} {signum}\n")
        journal.flush()


def clean_up(directory: Path) -> None:
    """Ends the processes noted in this directory that still are who they were, and removes the directory."""
    found = {}
    for line in (directory / "processes").read_text().splitlines():
        pid, created, signum = line.split()
        process = processes.find(int(pid), float(created))
        if process is not None and processes.is_alive(process):
            found[process] = int(signum)
    processes.end(found, GRACE)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdin)

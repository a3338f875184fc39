"""What is known of other processes: who they are, beyond a pid that may be used again, and how to end them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


def identify(pid: int) -> psutil.Process | None:
    """The process that has this pid now; None when there is none. Its start time tells it from a later one."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def find(pid: int, created: float) -> psutil.Process | None:
    """The process with this pid that started at `created` (Unix time); None when it is gone or another one's."""
    process = identify(pid)
    return process if process and abs(process.create_time() - created) < 0.02 else None


def family(process: psutil.Process) -> list[psutil.Process]:
    """This process, then its descendants."""
    try:
        return [process, *process.children(recursive=True)]
    except _GONE:
        return [process]


def send(processes: Iterable[psutil.Process], signum: int) -> None:
    """Signals each process that is still the one it was."""
    for process in processes:
        with suppress(*_GONE):
            process.send_signal(signum)


def await_stopped(processes: Iterable[psutil.Process], timeout: float) -> None:
    """Returns once SIGSTOP has reached every thread of these processes (where /proc tells), or after `timeout` seconds:
    a thread that is on a processor at that moment goes on for a little while."""
    deadline = time.monotonic() + timeout
    for process in processes:
        while _has_running_thread(process.pid) and time.monotonic() < deadline:
            time.sleep(0.001)


def _has_running_thread(pid: int) -> bool:
    with suppress(OSError, IndexError):  # a process or a thread that has ended meanwhile
        tasks = Path(f"/proc/{pid}/task").glob("*/stat")
        return any(task.read_text().rpartition(")")[2].split()[0] not in "TtZX" for task in tasks)
    return False


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended and waits for its parent to notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def end(processes: dict[psutil.Process, int], grace: float) -> None:
    """Ends these processes and their descendants: each by its own signal, after `grace` seconds by SIGKILL."""
    everyone = [member for process in processes for member in family(process)]
    for process, signum in processes.items():
        send([process], signum)
    send(everyone, signal.SIGCONT)
    if not wait(everyone, grace):
        send(everyone, signal.SIGKILL)
        wait(everyone, grace)


def wait(processes: Iterable[psutil.Process], timeout: float) -> bool:
    """Waits until none of these processes is alive; False when `timeout` seconds were not enough."""
    waiting = list(processes)
    deadline = time.monotonic() + timeout
    while any(is_alive(process) for process in waiting):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True

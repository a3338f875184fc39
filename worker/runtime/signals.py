"""Signals that ask a process to end, heard by a thread of their own.

Python runs a handler inside the main thread, between any two of its instructions: one that takes a lock there, as
setting an Event does, waits for ever if the main thread itself holds that lock. So the handlers do nothing. What counts
is the byte that the interpreter writes for each signal (`signal.set_wakeup_fd`), and the thread that reads it.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

TOGETHER = 0.5
"""Seconds within which signals ask once: a terminal that is closed sends SIGHUP twice (its shell, then the kernel), and
Ctrl-C reaches a whole group of processes, whose supervisor passes it on."""


def on_first(act: Callable[[], None]) -> None:
    """Calls `act`, in a thread, at the first SIGTERM, SIGINT or SIGHUP; one that comes later than
    `TOGETHER` after that ends the process at once.

    For the whole process, once, from its main thread. SIGHUP stays ignored where it is (nohup).
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reading, writing, act), name="signals", daemon=True).start()
    for number in ASKING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _noted)


def _noted(*_: object) -> None:
    """There must be a handler, or the signal does what it does by default; the byte is written already."""


def _listen(reading: socket.socket, _writing: socket.socket, act: Callable[[], None]) -> None:
    """`_writing` is held for as long as the interpreter writes to its descriptor."""
    first: float | None = None
    while True:
        for number in reading.recv(64):
            if number not in ASKING:
                continue
            if first is None:
                first = time.monotonic()
                act()
            elif time.monotonic() - first > TOGETHER:
                os._exit(128 + number)

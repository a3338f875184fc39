"""`python -m tests.support.fork_server FD`: forks a process for each `subkeeper …` that is asked for on the socket FD.

A start of the real command spends most of its time importing, most of a second of a core. Here that is done once; each
process is forked from it, and from there on is what the console script is: the same `worker.__main__.main`, with
arguments, environment, folder, descriptors and session of its own. `forked` has the other end.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, TypeAlias

import worker
from worker.cli.root import COMMANDS

Program: TypeAlias = Callable[[], object]

LATER = ("encodings.idna", "stripe._stripe_client", "stripe._v1_services", "stripe._v2_services", "stripe._webhook")
"""What libraries import where it is first used."""


class Server:
    """One thread, for only that one lives on in what is forked."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._told: dict[int, socket.socket] = {}
        """By process: who waits for its end."""

        self._wakes, self._woken = socket.socketpair()
        self._wakes.setblocking(False)
        self._woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)

    def serve(self) -> Program | None:
        """What to run, in each new process, by now as it was asked for; None when nobody is left who could ask."""
        while True:
            ready, _, _ = select.select([self._asked, self._wakes], [], [])
            if self._wakes in ready:
                with suppress(BlockingIOError):
                    self._wakes.recv(4096)
                self._reap()
            if self._asked in ready:
                message, descriptors, _, _ = socket.recv_fds(self._asked, 1 << 20, 4)
                if not message:
                    break
                request = json.loads(message)
                module, _, function = request["program"].partition(":")
                program: Program = getattr(importlib.import_module(module), function)
                if self._fork(request, descriptors):
                    return program
        for pid in self._told:
            os.kill(pid, signal.SIGKILL)
        return None

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> bool:
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for ours in (self._asked, self._wakes, self._woken, *self._told.values()):
                ours.detach()  # whose numbers are closed, and soon another's
            _become(request, descriptors[1:])
            return True
        told = socket.socket(fileno=descriptors[0])
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        self._told[pid] = told
        with suppress(ConnectionError):  # who asked has been killed meanwhile
            told.send(str(pid).encode())
        return False

    def _reap(self) -> None:
        """Tells of each process that has ended how it did: its exit code, or a signal's number, negative."""
        while self._told:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._told.pop(pid) as told, suppress(ConnectionError):
                told.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], standard: list[int]) -> None:
    """Nothing of the server's is left: no descriptor, no signal's handler, no variable."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, where the suite was started by nohup
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if request["new_session"]:
        os.setsid()
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    sys.argv = request["arguments"]
    given, said = sys.stdin, sys.stdout
    assert isinstance(given, TextIOWrapper)
    assert isinstance(said, TextIOWrapper)
    sys.stdin = os.fdopen(0, encoding=given.encoding, errors=given.errors, closefd=False)
    said.reconfigure(line_buffering=os.isatty(1))  # the same object: structlog has bound it


def _run(program: Program) -> None:
    """And ends as an interpreter does, but for freeing all that was imported: each page of it, which is the server's,
    would be copied first, for a tenth of a second of a core. Where that may show, it is done: after an error that
    nobody caught, while a thread still runs, and where the output can't be written."""
    try:
        program()
        code: object = None
    except SystemExit as ended:
        code = ended.code
    gc.collect()  # whatever says something when it is freed
    if threading.active_count() == 1 and (code is None or isinstance(code, int)):
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code or 0)
    sys.exit(code)  # type: ignore[arg-type]  # whatever it was


def _import() -> None:
    """The commands first, in the order in which they are imported by themselves (`worker.imported_without`)."""
    for module, _ in COMMANDS.values():
        importlib.import_module(module)
    for found in pkgutil.walk_packages(worker.__path__, "worker."):
        importlib.import_module(found.name)
    for module in LATER:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a new process would touch, and so copy, every page


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    asked = socket.socket(fileno=int(sys.argv[1]))
    _import()
    if program := Server(asked).serve():
        _run(program)

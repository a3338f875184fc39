"""What all parts of the sandbox have in common: one program that can be started, stopped, killed, and held."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import psutil

from sandbox import processes
from sandbox.errors import PartFailed
from sandbox.workspace import Workspace

START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0
_BIND_ATTEMPTS = 5


class Part:
    """One server on loopback ports of its own, its data below `directory` and its output in `log`.

    Ports and data outlive `stop` and `kill`: the next `start` brings back the same server. Leaving the `with` block
    stops it; the workspace removes its data.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """Asks the program for a graceful end."""

    abandon_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """What the guardian sends when nobody is left to wait: the quickest end that leaves nothing behind."""

    user: str | None = None

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._process: subprocess.Popen[bytes] | None = None
        self._ports_are_final = False
        self.directory = _new_directory(workspace.path, self.name)
        self.log = self.directory.with_suffix(".log")

    def command(self) -> list[str]:
        """The program and its arguments."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """The program's environment; None for our own. Secrets go here, never among the arguments."""
        return None

    def choose_ports(self) -> None:
        """Picks free ports; called before the first start, and again while somebody else is faster to take them."""
        raise NotImplementedError

    def ports(self) -> set[int]:
        """The TCP ports that it listens on."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether the server answers its clients now (asked every few milliseconds while it starts)."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether the program runs (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The program's process id; `PartFailed` when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise PartFailed(self.name, "it is not running")
        return self._process.pid

    def start(self) -> Self:
        """Starts the program and returns when it answers. Raises `PartFailed` with the end of its log otherwise."""
        if self.running:
            return self
        for _ in range(_BIND_ATTEMPTS):
            if not self._ports_are_final:
                self.choose_ports()
            if self._started():
                self._ports_are_final = True
                return self
        raise PartFailed(self.name, f"it found no free port in {_BIND_ATTEMPTS} attempts")

    def stop(self) -> None:
        """Ends the program gracefully, as a supervisor would; a paused one is resumed first."""
        if self._process is None or not self.running:
            return
        self.resume()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise PartFailed(self.name, f"it did not stop within {STOP_TIMEOUT:.0f} s\n{self.log_end()}") from None

    def kill(self) -> None:
        """Ends the program and its children by SIGKILL, as the kernel or a pulled plug would."""
        if self._process is not None and self.running:
            members = self._hold()
            processes.send(members, signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT)
            processes.wait(members[1:], STOP_TIMEOUT)

    def restart(self) -> None:
        """Stops it gracefully and starts it again, on the same ports, with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Holds the program and its children (SIGSTOP): connections stay open and nothing answers on them."""
        self._hold()

    def resume(self) -> None:
        """Lets a paused program go on."""
        processes.send(processes.family(psutil.Process(self.pid)), signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _hold(self) -> list[psutil.Process]:
        program = psutil.Process(self.pid)
        processes.send([program], signal.SIGSTOP)  # first of all, so that it starts no further children
        members = processes.family(program)
        processes.send(members[1:], signal.SIGSTOP)
        processes.await_stopped(members, STOP_TIMEOUT)
        return members

    def _started(self) -> bool:
        """Spawns the program and waits until it answers; False when its port was taken at its first start."""
        self._process = self._workspace.spawn(
            self.command(),
            log=self.log,
            stop_signal=self.abandon_signal,
            user=self.user,
            env=self.environment(),
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not (self._listens() and self.answers()):
            if not self.running:
                if not self._ports_are_final and "address already in use" in self.log_end().lower():
                    return False
                raise PartFailed(self.name, f"it ended with {self._process.returncode}\n{self.log_end()}")
            if time.monotonic() > deadline:
                self.kill()
                raise PartFailed(self.name, f"no answer within {START_TIMEOUT:.0f} s\n{self.log_end()}")
            time.sleep(0.01)
        return True

    def _listens(self) -> bool:
        """Whether all its ports are its own by now, rather than those of somebody who was faster."""
        assert self._process is not None
        try:
            connections = psutil.Process(self._process.pid).net_connections("tcp")
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended
            return False
        return self.ports() <= {held.laddr.port for held in connections if held.status == psutil.CONN_LISTEN}

    def log_end(self) -> str:
        """The last 2,000 characters of its log, for a message about its failure."""
        return self.log.read_text(errors="replace")[-2000:]


def _new_directory(parent: Path, name: str) -> Path:
    number = 0
    while True:
        number += 1
        directory = parent / f"{name}-{number}"
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return directory

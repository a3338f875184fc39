"""`subkeeper …` in a process of its own, forked from one that has imported it (`fork_server`): a start in 30 ms."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias

SUBKEEPER = Path(sys.executable).with_name("subkeeper")
ROOT = Path(__file__).parents[2]
CONSOLE_SCRIPT = "worker.__main__:main"
READ_WHEN_USED = (
    "SUBKEEPER_", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "PATH", "COLUMNS", "TERM", "TZ",
    "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PWD", "OLDPWD", "SHLVL", "_",
    "LC_CTYPE",  # as an interpreter itself sets it where no locale is given
)  # fmt: skip
"""How variables begin that a command reads as it runs, or not at all. Others are read as it starts, or as it imports,
and a command that has one of those is started anew."""

_IN_A_SHELL = """\
#!{python} -IS
import json, os, socket, sys
try:
    ours = [os.fstat(number) for number in range(3)] and all(name.startswith({names}) for name in os.environ)
except OSError:  # a standard descriptor is closed, which a start sees
    ours = False
if not ours:
    os.execv("{subkeeper}", ["{subkeeper}", *sys.argv[1:]])
status, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
request = {{
    "program": "{program}", "arguments": ["{subkeeper}", *sys.argv[1:]], "environ": dict(os.environ),
    "directory": os.getcwd(), "new_session": False,
}}
socket.send_fds(socket.socket(fileno={asking}), [json.dumps(request).encode()], [told.fileno(), 0, 1, 2])
told.close()
for number in range(3):
    os.close(number)  # nobody waits for us to read, or to write
status.recv(64)
code = int(status.recv(64))
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Forked:
    """As `subprocess.Popen`, as far as tests need it. It is no child of ours: the server waits for it."""

    def __init__(self, pid: int, status: socket.socket, pipes: Sequence[BinaryIO | None]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = pipes
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code (a signal's number, negative); None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            if self.returncode is None:
                ready, _, _ = select.select([self._status], [], [], timeout)
                if not ready:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
                self.returncode = int(self._status.recv(64))
                self._status.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: bytes = b"", timeout: float = 60.0) -> tuple[bytes, bytes]:
        """Writes `given`, and returns what it said, and its error output, once it has ended."""
        deadline = time.monotonic() + timeout
        heard: dict[BinaryIO, bytearray] = {pipe: bytearray() for pipe in (self.stdout, self.stderr) if pipe}
        writer = threading.Thread(target=self._give, args=(given,))
        writer.start()
        left = set(heard)
        while left:
            ready, _, _ = select.select(left, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            for pipe in ready:
                chunk = os.read(pipe.fileno(), 65536)
                heard[pipe] += chunk
                if not chunk:
                    left.remove(pipe)
        writer.join()
        self.wait(max(0.0, deadline - time.monotonic()))
        said = {pipe: bytes(chunks) for pipe, chunks in heard.items()}
        self._close()
        return said.get(self.stdout, b""), said.get(self.stderr, b"")  # type: ignore[arg-type]  # None: no pipe

    def _give(self, given: bytes) -> None:
        if self.stdin:
            with suppress(BrokenPipeError):
                self.stdin.write(given)
            with suppress(BrokenPipeError):
                self.stdin.close()

    def _close(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self.wait()


Running: TypeAlias = "subprocess.Popen[bytes] | Forked"


class ForkServer:
    """The server's process, and the socket on which it is asked."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()
        self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._asking.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        with asked:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(asked.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[asked.fileno()], cwd=ROOT,
                env={"PATH": os.environ["PATH"]},
            )  # fmt: skip

    def start(
        self, arguments: Sequence[str], environ: Mapping[str, str], directory: Path, standard: Sequence[int],
        *, new_session: bool = False, program: str = CONSOLE_SCRIPT,
    ) -> tuple[int, socket.socket]:  # fmt: skip
        """The process's id, and a socket that tells its exit code. `standard`: its three standard descriptors."""
        request = {
            "program": program,
            "arguments": [str(SUBKEEPER), *arguments],
            "environ": dict(environ),
            "directory": str(directory),
            "new_session": new_session,
        }
        status, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with told:
            socket.send_fds(self._asking, [json.dumps(request).encode()], [told.fileno(), *standard])
        return int(status.recv(64)), status

    def on_path(self) -> tuple[str, int]:
        """A folder for a shell's PATH whose `subkeeper` is forked here, and the descriptor that the shell passes on.

        A signal to that `subkeeper` ends it alone: what is to be signalled is started by `start`.
        """
        program, asking = Path(self._folder.name) / "subkeeper", self._asking.fileno()
        if not program.exists():
            text = _IN_A_SHELL.format(
                python=sys.executable, names=READ_WHEN_USED, subkeeper=SUBKEEPER, program=CONSOLE_SCRIPT, asking=asking
            )
            program.write_text(text)
            program.chmod(0o755)
        return self._folder.name, asking

    def close(self) -> None:
        """Kills what is left of what it has forked."""
        self._asking.close()
        self._process.wait()
        self._folder.cleanup()


@cache
def fork_server() -> ForkServer:
    """This process's server, which ends with it."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def start(
    arguments: Sequence[str | Path], *, environ: Mapping[str, str], directory: Path, stdin: int | None = None,
    stdout: int | None = None, stderr: int | None = None, new_session: bool = False, program: str = CONSOLE_SCRIPT,
) -> Running:  # fmt: skip
    """`subkeeper <arguments>` with this environment alone; its standard descriptors as `subprocess.Popen` takes them:
    None for ours, PIPE, DEVNULL, or a number. `program`: another function, `module:name`, that it is to run."""
    given = [str(argument) for argument in arguments]
    if program == CONSOLE_SCRIPT and not all(name.startswith(READ_WHEN_USED) for name in environ):
        return subprocess.Popen(
            [SUBKEEPER, *given], stdin=stdin, stdout=stdout, stderr=stderr, env=dict(environ), cwd=directory,
            start_new_session=new_session,
        )  # fmt: skip
    with ExitStack() as opened:
        pipes: list[BinaryIO | None] = []
        standard: list[int] = []
        for number, wanted in enumerate((stdin, stdout, stderr)):
            theirs, ours = _descriptor(number, wanted, opened)
            standard.append(theirs)
            pipes.append(ours)
        server = fork_server()
        pid, status = server.start(given, environ, directory, standard, new_session=new_session, program=program)
    return Forked(pid, status, pipes)


def _descriptor(number: int, wanted: int | None, opened: ExitStack) -> tuple[int, BinaryIO | None]:
    """Theirs, which `opened` closes if it is a new one, and our end of it if it is a pipe."""
    if wanted is None:
        return number, None
    if wanted >= 0:
        return wanted, None
    if wanted == subprocess.DEVNULL:
        null = os.open(os.devnull, os.O_RDWR)
        opened.callback(os.close, null)
        return null, None
    assert wanted == subprocess.PIPE
    reading, writing = os.pipe()
    theirs, ours = (reading, writing) if number == 0 else (writing, reading)
    opened.callback(os.close, theirs)
    return theirs, os.fdopen(ours, "wb" if number == 0 else "rb", buffering=0)

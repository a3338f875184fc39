"""`subkeeper …` as people run it: a process of its own, with what it said and its exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked import Running, start
from tests.support.stack import Stack

PATIENCE = 180.0

WITH_CTRL_C = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
)
"""A shell starts what runs in its background with SIGINT ignored, tests too; a command of a person's hears it."""


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        """Standard output as one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Commands:
    """Runs commands on a stack's deployment, in `directory`. `environ` may be changed; an empty value unsets."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self.directory = directory
        self.environ = dict(stack.environ)

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", **environ: str) -> Said:
        process = self.start(*arguments, **environ)
        out, err = process.communicate(stdin, timeout=PATIENCE)
        return Said(process.wait(), out.decode(), err.decode())

    def start(self, *arguments: str | Path, **environ: str) -> Running:
        """Begins a command; the caller waits for it."""
        return start(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            environ={name: value for name, value in {**self.environ, **environ}.items() if value},
            directory=self.directory,
        )

    def on_a_terminal(self, *arguments: str | Path, typed: bytes = b"", columns: int = 80) -> Said:
        """The same with a terminal of so many columns; what is on it is `out`."""
        controller, terminal = pty.openpty()
        with os.fdopen(controller, "rb", buffering=0) as screen:
            environ = {**self.environ, "COLUMNS": str(columns), "TERM": "xterm"}
            process = start(
                arguments, stdin=terminal, stdout=terminal, stderr=terminal, environ=environ,
                directory=self.directory, new_session=True,
            )  # fmt: skip
            os.close(terminal)
            os.write(screen.fileno(), typed)
            seen = bytearray()
            try:
                while chunk := os.read(screen.fileno(), 65536):
                    seen += chunk
            except OSError:  # how Linux says that nobody has the terminal open any longer
                pass
            return Said(process.wait(PATIENCE), seen.decode(), "")

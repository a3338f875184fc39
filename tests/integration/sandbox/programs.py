"""`subkeeper sandbox` as a process of its own, for tests that end it in every way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PROGRAM = """\
from sandbox import commands
commands.prepare = lambda config: config.with_name("prepared").touch()
commands.sandbox()
"""


@contextmanager
def sandbox_command(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """`subkeeper sandbox <arguments>`, prepared by a file `prepared` beside the configuration; killed if it is left."""
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """What it prints when it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr and process.stderr.read()
    return line

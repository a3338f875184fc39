"""Ctrl-C at any moment ends a command quietly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import WITH_CTRL_C
from tests.support.waiting import wait_until

SLOW = "import pathlib, time; pathlib.Path('importing').touch(); time.sleep(60)"


@pytest.mark.parametrize("module", ["click", "sqlalchemy"], ids=["before the command", "inside the command"])
def test_ctrl_c_while_importing_ends_quietly(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(SLOW)
    process = subprocess.Popen(
        [*WITH_CTRL_C, sys.executable, "-m", "worker", "setup"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
        cwd=tmp_path,
    )
    wait_until((tmp_path / "importing").exists)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, b"")

"""Completion as docs/operations.md sets it up: each shell's script is there, and answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forked import SUBKEEPER

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
ENVIRON = {"PATH": f"{SUBKEEPER.parent}:{os.environ['PATH']}", "HOME": "/nowhere"}


def completed(shell: str, words: str, at: int) -> list[str]:
    environ = {**ENVIRON, "_SUBKEEPER_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    if shell == "fish":
        environ["COMP_CWORD"] = words.split()[at] if at < len(words.split()) else ""
    done = subprocess.run([SUBKEEPER], env=environ, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_command_is_completed(shell: str) -> None:
    assert "quarantine" in " ".join(completed(shell, "subkeeper quar", 1))
    assert "drop" in " ".join(completed(shell, "subkeeper quarantine dr", 2))
    assert "--older-than" in " ".join(completed(shell, "subkeeper provisioning list --old", 3))


@pytest.mark.parametrize("begun", ["", "d"])
def test_commands_are_completed_where_the_sandboxs_packages_are_not_installed(begun: str) -> None:
    without = "import sys; sys.modules.update(psutil=None, aiohttp=None); from worker.__main__ import main; main()"
    environ = {**ENVIRON, "_SUBKEEPER_COMPLETE": "bash_complete", "COMP_WORDS": f"subkeeper {begun}", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", without]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=True)
    assert {"plain,db", "plain,demo", "plain,doctor"} <= set(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_line_gives_the_shell_a_script(shell: str) -> None:
    (line,) = [text for text in OPERATIONS.read_text().splitlines() if f"={shell}_source subkeeper" in text]
    if shutil.which(shell):
        command = re.sub(r"\s+#.*", "", line)
        done = subprocess.run(
            [shell, "-c", command], env=ENVIRON, capture_output=True, text=True, timeout=30, check=False
        )
        assert "_SUBKEEPER_COMPLETE" not in done.stderr
        assert done.returncode == 0 or shell == "zsh"  # whose compdef comes with compinit
    script = subprocess.run(
        [SUBKEEPER], env={**ENVIRON, "_SUBKEEPER_COMPLETE": f"{shell}_source"}, capture_output=True, text=True,
        timeout=30, check=True,
    ).stdout  # fmt: skip
    assert f"_SUBKEEPER_COMPLETE={shell}_complete" in script

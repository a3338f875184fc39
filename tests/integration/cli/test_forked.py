"""Commands that tests have forked are what the console script is: the same words, codes and signals, nothing shared."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.forked import ROOT, SUBKEEPER, Forked, fork_server, start

ENVIRON = {"PATH": os.environ["PATH"], "SUBKEEPER_SECRET_KEY": "a-key-of-more-than-thirty-two-characters"}
SEEN = "tests.integration.cli.test_forked:show_what_is_seen"
STOPPED = "tests.integration.cli.test_forked:wait_for_a_signal"


def show_what_is_seen() -> None:
    """In a forked process."""
    fds = sorted(int(fd.name) for fd in Path("/proc/self/fd").iterdir() if fd.exists())
    blocked = sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    handlers = [signal.getsignal(number) is signal.SIG_DFL for number in (signal.SIGCHLD, signal.SIGTERM)]
    seen = {
        "arguments": sys.argv[1:], "environ": dict(os.environ), "directory": str(Path.cwd()), "fds": fds,
        "leads": os.getsid(0) == os.getpid(), "blocked": blocked, "handlers": handlers, "given": sys.stdin.read(),
    }  # fmt: skip
    print(json.dumps(seen))  # noqa: T201


def wait_for_a_signal() -> None:
    """In a forked process."""
    print("here", flush=True)  # noqa: T201
    signal.pause()


class Loud:
    """Part of a cycle, which nothing but a collection frees."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        raise ValueError("freed")


def leave() -> None:
    """In a forked process, and in a real one."""
    atexit.register(print, "at exit")
    sys.stdout.write("buffered, ")
    how = sys.argv[1]
    if how == "thread":
        threading.Timer(0.2, print, ["a thread"]).start()
    elif how == "cycle":
        Loud()
    elif how == "closed":
        os.close(1)
    elif how == "error":
        raise LookupError("not caught")
    elif how == "words":
        sys.exit("in words")
    elif how == "code":
        sys.exit(3)


def forked(program: str, *arguments: str, directory: Path, new_session: bool = False, **environ: str) -> Forked:
    pipe = subprocess.PIPE
    process = start(
        arguments, environ={**ENVIRON, **environ}, directory=directory, stdin=pipe, stdout=pipe, stderr=pipe,
        new_session=new_session, program=program,
    )  # fmt: skip
    assert isinstance(process, Forked)
    return process


def test_a_forked_process_has_what_it_was_given_and_nothing_of_another_s(tmp_path: Path) -> None:
    other = forked(STOPPED, directory=tmp_path, SUBKEEPER_NAMESPACE="of-another")
    out, err = forked(SEEN, "a", "b", directory=tmp_path, new_session=True).communicate(b"given")
    seen = json.loads(out)
    assert err == b""
    assert seen["environ"] == ENVIRON
    assert (seen["arguments"], seen["directory"], seen["given"]) == (["a", "b"], str(tmp_path), "given")
    assert (seen["leads"], seen["blocked"], seen["handlers"]) == (True, [], [True, True])
    assert set(seen["fds"]) <= {0, 1, 2}, "the one that lists them is closed by now"
    other.kill()
    other.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_that_ends_it_is_its_code(tmp_path: Path, number: signal.Signals) -> None:
    process = forked(STOPPED, directory=tmp_path)
    assert process.stdout
    assert process.stdout.readline() == b"here\n"
    assert process.poll() is None
    process.send_signal(number)
    process.communicate()
    assert process.poll() == -number


@pytest.mark.parametrize("how", ["", "code", "words", "error", "thread", "cycle", "closed"])
def test_it_ends_as_an_interpreter_does(tmp_path: Path, how: str) -> None:
    script = f"import sys; from {__name__} import leave; sys.exit(leave())"
    real = subprocess.run(
        [sys.executable, "-c", script, how], env={**ENVIRON, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        capture_output=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    process = forked(f"{__name__}:leave", how, directory=tmp_path)
    out, err = process.communicate()
    assert (process.wait(), out, err.splitlines()[-1:]) == (real.returncode, real.stdout, real.stderr.splitlines()[-1:])


@pytest.mark.parametrize("arguments", [("config", "check", "--json"), ("--help",), ("run", "nothing"), ("publish",)])
def test_a_command_says_what_a_real_start_says(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    real = subprocess.run(
        [SUBKEEPER, *arguments], env=ENVIRON, cwd=tmp_path, capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    process = forked("worker.__main__:main", *arguments, directory=tmp_path)
    assert process.communicate() == (real.stdout, real.stderr)
    assert process.wait() == real.returncode
    folder, asking = fork_server().on_path()
    in_a_shell = subprocess.run(
        ["/bin/sh", "-c", 'exec subkeeper "$@"', "sh", *arguments], env={**ENVIRON, "PATH": folder}, cwd=tmp_path,
        capture_output=True, check=False, stdin=subprocess.DEVNULL, pass_fds=[asking],
    )  # fmt: skip
    assert (in_a_shell.returncode, in_a_shell.stdout, in_a_shell.stderr) == (real.returncode, real.stdout, real.stderr)


def test_what_an_interpreter_reads_at_its_start_is_a_real_start(tmp_path: Path) -> None:
    process = start(["--version"], environ={**ENVIRON, "PYTHONWARNINGS": "always"}, directory=tmp_path)
    assert isinstance(process, subprocess.Popen)
    assert process.wait() == 0

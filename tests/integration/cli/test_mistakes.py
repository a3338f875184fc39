"""What people and machines get wrong at the command line: each is one line that says what to do, never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.test_commands import run
from tests.integration.provisioning.conftest import NewStack
from tests.support.forked import fork_server
from tests.support.stack import Stack
from tests.support.waiting import wait_until


def shell(stack: Stack, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`line` in a shell, where `subkeeper` is the command."""
    env = {name: value for name, value in {**stack.environ, **environ}.items() if value}
    folder, asking = fork_server().on_path()
    env["PATH"] = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        pass_fds=[asking],
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done


PRINTING = (
    "config check", "config check --json", "--help", "--version", "run --help", "db check", "db upgrade", "setup",
    "provisioning list", "quarantine list", "quarantine list --totals",
    "quarantine drop --all --yes", "publish --id ada", "sandbox --help", "sandbox stripe --port 0",
)  # fmt: skip


@pytest.mark.parametrize(("output", "unbuffered"), [("> /dev/full", ""), ("> /dev/full", "1"), (">&-", "")])
def test_an_output_that_cannot_be_written_is_told_in_a_line(stack: Stack, output: str, unbuffered: str) -> None:
    """As containers set PYTHONUNBUFFERED, too."""
    for arguments in PRINTING:
        done = shell(stack, f"subkeeper {arguments} {output}", PYTHONUNBUFFERED=unbuffered)
        assert done.returncode == 1, (arguments, done)
        *before, last = done.stderr.splitlines()
        assert last.startswith("subkeeper: standard output can't be written: "), (arguments, done.stderr)
        assert set(before) <= {"none"}


def test_a_reader_that_leaves_early_is_no_error_that_shows(stack: Stack) -> None:
    done = shell(stack, "subkeeper config check | head -1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stderr_changes_nothing(stack: Stack) -> None:
    for arguments in ("provisioning list", "config check", "setup"):
        assert shell(stack, f"subkeeper {arguments} 2>&-").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--port {taken}", ("127.0.0.1:{taken} is in use by another process", "--port")),
        ("--port 0 --host 203.0.113.7", ("203.0.113.7 is not an address of this machine",)),
        ("--port 0 --host no.such.host.invalid", ("no.such.host.invalid is not an address of this machine",)),
        ("--port 0 --state-file /nowhere/state", ("--state-file: /nowhere/state: No such file or directory",)),
        ("--port 0 --state-file /", ("--state-file: /: Is a directory",)),
        ("--port 0 --state-file {other}", ("{other} holds something else",)),
        ("--port 0 --state-file {words}", ("{words} holds something else",)),
    ],
)
def test_a_stripe_that_cannot_start_says_why(
    stack: Stack, tmp_path: Path, arguments: str, told: tuple[str, ...]
) -> None:
    other, words = tmp_path / "package.json", tmp_path / "words"
    other.write_text('{"name": "something"}\n')
    words.write_text("a line without an end")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        names = {"taken": listener.getsockname()[1], "other": other, "words": words}
        done = shell(stack, f"subkeeper sandbox stripe {arguments.format(**names)}")
    assert done.returncode == 1
    for word in told:
        assert word.format(**names) in done.stderr
    assert words.read_text() == "a line without an end", "nothing that isn't ours is cut off"


REFUSED = {
    "no sealing key": {"SUBKEEPER_SECRET_KEY": ""},
    "a sealing key that is too short": {"SUBKEEPER_SECRET_KEY": "short"},
    "a sealing key's file that is not there": {"SUBKEEPER_SECRET_KEY": "", "SUBKEEPER_SECRET_KEY_FILE": "/nowhere/key"},
    "a publishable key": {"STRIPE_SECRET_KEY": "pk_test_x"},
    "a live key in test mode": {"STRIPE_SECRET_KEY": "sk_live_x"},
    "TLS files that are not there": {
        "SUBKEEPER_NSQ__TLS__ENABLED": "true",
        "SUBKEEPER_NSQ__TLS__CA_FILE": "/nowhere/ca",
    },
    "an auth secret's file that is not there": {"SUBKEEPER_NSQ__AUTH_SECRET_FILE": "/nowhere/auth"},
    "fields in one place": {"SUBKEEPER_MESSAGE__EMAIL": "/id"},
    "a field inside another": {"SUBKEEPER_MESSAGE__EMAIL": "/name/email"},
    "an address of another machine": {"SUBKEEPER_HEALTH__HOST": "203.0.113.7"},
    "a host that has no address": {"SUBKEEPER_HEALTH__HOST": "no.such.host.invalid"},
    "a password that is read in two ways": {"SUBKEEPER_DATABASE__URL": "postgresql://a:b@c@d/e"},
}


@pytest.mark.parametrize("environ", REFUSED.values(), ids=REFUSED)
def test_config_check_refuses_what_run_refuses_in_the_same_words(stack: Stack, environ: dict[str, str]) -> None:
    checked = shell(stack, "subkeeper config check", **environ)
    ran = shell(stack, "subkeeper run profiles", **environ)
    assert (checked.returncode, ran.returncode) == (2, 2), (checked, ran)
    assert checked.stdout == ""
    said = [line for line in ran.stderr.splitlines() if line.startswith("subkeeper: ")]
    assert said
    assert checked.stderr.splitlines() == said


def test_config_check_tells_all_that_is_wrong_at_once(stack: Stack) -> None:
    done = shell(
        stack, "subkeeper config check", SUBKEEPER_SECRET_KEY="", SUBKEEPER_MESSAGE__EMAIL="/id",
        SUBKEEPER_HEALTH__HOST="203.0.113.7",
    )  # fmt: skip
    assert done.returncode == 2
    for key in ("SUBKEEPER_SECRET_KEY", "message", "health.host"):
        assert key in done.stderr


def test_config_check_passes_beside_a_worker_and_without_billing(stack: Stack) -> None:
    worker = stack.spawn_worker()
    assert shell(stack, "subkeeper config check", SUBKEEPER_HEALTH__PORT=str(worker.port)).returncode == 0
    assert shell(stack, "subkeeper config check", STRIPE_SECRET_KEY="", SUBKEEPER_SECRET_KEY="").returncode == 0


def test_the_configuration_may_be_named_after_the_command_too(stack: Stack, tmp_path: Path) -> None:
    file, other = tmp_path / "a.toml", tmp_path / "b.toml"
    file.write_text('namespace = "of-the-file"\n')
    other.write_text("")
    after = f"config check --json --config {file}"
    for line in (f"--config {file} config check --json", after, f"config --config {file} check --json"):
        assert json.loads(shell(stack, f"subkeeper {line}").stdout)["namespace"] == "of-the-file"
    twice = shell(stack, f"subkeeper --config {file} config check --config {other}")
    assert twice.returncode == 2
    assert "--config is given twice" in twice.stderr
    for command in ("run profiles", "setup", "db check", "publish --id a", "provisioning list", "quarantine list",
                    "backfill -", "doctor"):  # fmt: skip
        missing = shell(stack, f"subkeeper {command} --config /nowhere/x.toml")
        assert "/nowhere/x.toml" in missing.stderr + missing.stdout, command


def test_publish_names_the_nsqd_that_it_could_not_reach(stack: Stack) -> None:
    done = shell(stack, "subkeeper publish --id ada", SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES="127.0.0.1:1")
    assert done.returncode == 1
    (told,) = done.stderr.splitlines()
    assert "nsqd is unavailable: 127.0.0.1:1: unreachable: Connection refused. Start it, or correct nsq.nsqd" in told


def test_an_nsqlookupd_that_is_away_is_named_with_the_reason_and_the_fix(stack: Stack) -> None:
    done = shell(stack, "subkeeper setup", SUBKEEPER_NSQ__LOOKUPD_HTTP_ADDRESSES="127.0.0.1:1")
    assert done.returncode == 1
    told = "nsqlookupd is unavailable: 127.0.0.1:1: Connection refused. Start it, or correct nsq.lookupd_http_addresses"
    assert done.stderr == f"subkeeper: {told}\n"


@pytest.mark.parametrize(
    ("base", "why"),
    [("http://127.0.0.1:1", "Connection refused"), ("https://no.such.host.invalid", "Name or service not known")],
)
def test_stripe_out_of_reach_is_named_with_the_reason_by_setup_and_by_run(
    new_stack: NewStack, base: str, why: str
) -> None:
    stack = new_stack()
    done = shell(stack, "subkeeper setup", SUBKEEPER_STRIPE__API_BASE=base)
    assert done.returncode == 1
    assert f"no connection to {base} ({why}" in done.stderr
    worker = stack.spawn("run", "profiles", SUBKEEPER_STRIPE__API_BASE=base, SUBKEEPER_LOG__LEVEL="info")
    wait_until(lambda: worker.logged("stripe_call.failed"))
    (failed,) = worker.logged("stripe_call.failed")
    assert (failed["peer"], None in failed.values()) == (base, False)
    assert why in failed["why"]
    wait_until(lambda: any(why in line["detail"] for line in worker.logged("health.changed")))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert len(worker.logged("stripe_call.failed")) == 1, "the same reason is told once"


@pytest.mark.parametrize(
    "line",
    [
        "run", "run nothing", "backfill", "backfill /nowhere/file", "backfill - --format xml", "publish",
        "publish --id a --json -", "quarantine retry", "quarantine drop 1 --all", "quarantine show",
        "provisioning show", "provisioning list --older-than soon", "provisioning list --state none", "nonsense",
        "--nonsense", "sandbox stripe",
    ],
)  # fmt: skip
def test_a_wrong_command_line_exits_with_2_and_a_hint(stack: Stack, line: str) -> None:
    done = shell(stack, f"subkeeper {line}")
    assert done.returncode == 2, done
    assert "Error: " in done.stderr
    assert shlex.split(line)


def test_run_without_settings_says_what_is_missing(stack: Stack) -> None:
    assert "SUBKEEPER_SECRET_KEY" in run(stack, "run", "profiles", code=2, SUBKEEPER_SECRET_KEY="")

"""A backfill that was broken off goes on where it was."""

from __future__ import annotations

import json
import random
import re
import signal
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.operations.test_backfill import depth, names, ndjson
from tests.support.commands import Commands
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.backfill.publishing import BATCH_MESSAGES
from worker.cli.backfill import Interrupts

COUNT = 6000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = ndjson(names(COUNT)).splitlines(keepends=True)
    for number in range(50, COUNT, 100):
        lines[number] = b"bad %d\n" % number
    path = tmp_path / "users.ndjson"
    path.write_bytes(b"".join(lines))
    return path


def saved(file: Path) -> dict[str, object]:
    """The progress that is kept; {} if none is."""
    path = file.with_name(file.name + ".subkeeper-progress")
    found: dict[str, object] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def line(file: Path) -> int:
    return int(str(saved(file).get("line", 0)))


def break_off(
    commands: Commands, file: Path, how: signal.Signals, after: int, *, max_depth: int = 0
) -> tuple[int, str]:
    """Starts a backfill, and ends it once it has got past line `after`; its exit code and standard error."""
    process = commands.start("backfill", file, "--max-depth", str(max_depth))
    wait_until(lambda: line(file) > after, what=f"line {after}")
    process.send_signal(how)
    _, err = process.communicate(timeout=30)
    return process.wait(), err.decode()


def test_killed_again_and_again_it_publishes_everything_and_little_twice(
    stack: Stack, commands: Commands, file: Path, rng: random.Random
) -> None:
    kills = 0
    for _ in range(3):
        code, _ = break_off(commands, file, signal.SIGKILL, line(file) + rng.randrange(1200))
        kills += code == -signal.SIGKILL
    assert kills, "not one kill came in time"
    assert stat.S_IMODE((file.parent / (file.name + ".subkeeper-progress")).stat().st_mode) == 0o600
    said = commands("backfill", file, "--max-depth", "0")
    assert said.code == 0, said
    good = COUNT - COUNT // 100
    assert f"{COUNT} records: {good} published" in said.out
    assert good <= depth(stack) <= good + kills * BATCH_MESSAGES
    rejects = (file.parent / "users.ndjson.rejects").read_bytes()
    assert rejects == b"".join(b"bad %d\n" % number for number in range(50, COUNT, 100)), "each once, in order"
    assert not saved(file)


def test_what_was_found_before_the_kill_counts_as_newly_found_after_it(
    stack: Stack, commands: Commands, file: Path
) -> None:
    break_off(commands, file, signal.SIGKILL, 1000, max_depth=2000)  # nothing reads: it waits there
    stack.start_worker()
    wait_until(lambda: stack.is_drained(stack.backfill_topic))
    said = commands("backfill", file, "--fail-if-new")
    assert said.code == 3, said
    good = COUNT - COUNT // 100
    assert f"{good} users: {good} newly found, 0 known before" in said.out


def test_ctrl_c_says_how_to_go_on(commands: Commands, file: Path) -> None:
    code, err = break_off(commands, file, signal.SIGINT, 0)
    assert code == 130
    told = re.search(r"interrupted\. All up to line (\d+) is done; to go on, run the same command again\.", err)
    assert told is not None, err
    assert 0 < line(file) <= int(told[1]), "what is told may be a batch ahead of what is saved"
    assert "Traceback" not in err


def test_ctrl_c_on_a_pipe_says_after_which_line_to_go_on(stack: Stack, commands: Commands) -> None:
    content = ndjson(names(1000))
    process = commands.start("backfill", "-", "--max-depth", "400", "--patience", "1h")
    assert process.stdin is not None
    process.stdin.write(content)
    wait_until(lambda: depth(stack) == 400)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "give the same input with --resume-after 400" in err.decode()
    said = commands("backfill", "-", "--resume-after", "400", "--max-depth", "0", stdin=content)
    assert "600 records: 600 published" in said.out
    wait_until(lambda: depth(stack) == 1000)


def test_an_interrupt_that_python_swallows_is_heard_at_the_next_look() -> None:
    """As one that comes in the middle of a finalizer."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts = Interrupts()
        interrupts.sleep(0)
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.sleep(0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_changed_input_is_not_gone_on_with(commands: Commands, file: Path) -> None:
    break_off(commands, file, signal.SIGKILL, 0)
    file.write_bytes(file.read_bytes().replace(b"user-00001", b"user-x0001"))
    said = commands("backfill", file)
    assert (said.code, "begin anew with --restart" in said.err) == (1, True), said
    assert f"{COUNT} records" in commands("backfill", file, "--max-depth", "0", "--restart").out


def test_lines_that_were_appended_since_are_no_change(stack: Stack, commands: Commands, file: Path) -> None:
    break_off(commands, file, signal.SIGKILL, 0)
    with file.open("ab") as end:
        end.write(ndjson(["one-more"]))
    assert f"{COUNT + 1} records" in commands("backfill", file, "--max-depth", "0").out


def test_a_progress_that_cannot_be_read_is_told(commands: Commands, file: Path) -> None:
    file.with_name(file.name + ".subkeeper-progress").write_bytes(b'{"version": 1')
    said = commands("backfill", file)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert "--restart" in said.err


def test_a_broker_that_goes_away_leaves_a_progress(commands: Commands, file: Path) -> None:
    said = commands("backfill", file, "--max-depth", "0", SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="127.0.0.1:1")
    assert said.code == 1
    assert "No line is done yet; to go on, run the same command again" in said.err
    elsewhere = re.sub(r"/[^/]*$", "/no_such_database", commands.environ["SUBKEEPER_DATABASE__URL"])
    refused = commands("backfill", file, SUBKEEPER_DATABASE__URL=elsewhere)
    assert refused.code == 2, "a person must mend that, as of every command"
    assert "there is no such database" in refused.err
    assert commands("backfill", file, "--max-depth", "0").code == 0


@pytest.mark.parametrize("kept", [".subkeeper-progress.new", ".rejects"])
def test_what_cannot_be_kept_beside_the_file_is_told_in_a_line_with_what_to_do(
    commands: Commands, file: Path, kept: str
) -> None:
    file.with_name(file.name + kept).mkdir()
    said = commands("backfill", file)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert said.err.startswith(f"subkeeper: {file}{kept}: Is a directory. Mend that, or give the input on stdin")

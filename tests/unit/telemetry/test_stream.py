"""A line of the log that can't be written is counted and dropped, and nothing else comes of it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from worker.telemetry import stream
from worker.telemetry.stream import LogStream, Losses


@pytest.fixture
def losses() -> Losses:
    return Losses()


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe's end to read from, and the other one as Python opens it."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        yield reading, file
    with contextlib.suppress(OSError):
        os.close(reading)


def test_a_line_goes_past_the_stream_s_own_buffer(tmp_path: Path, losses: Losses) -> None:
    with (tmp_path / "log").open("w") as file:
        file.write("before\n")
        log = LogStream(file, losses)
        log.write("jürgen \ud800\n")
        assert (tmp_path / "log").read_bytes() == "before\njürgen \\ud800\n".encode()
    assert losses == Losses()


def test_a_pipe_that_nobody_reads_any_more_costs_the_lines(pipe: tuple[int, TextIO], losses: Losses) -> None:
    reading, file = pipe
    log = LogStream(file, losses)
    os.close(reading)
    for _ in range(3):
        log.write("x\n")
    assert losses.unwritable == 3


def test_a_full_disk_costs_the_lines_until_there_is_room(losses: Losses) -> None:
    with Path("/dev/full").open("w") as file:
        log = LogStream(file, losses)
        log.write("x\n")
    assert losses.unwritable == 1


@pytest.mark.parametrize("closed", [True, False], ids=["closed later", "closed from the start"])
def test_a_closed_stream_costs_the_lines(tmp_path: Path, losses: Losses, closed: bool) -> None:
    file = (tmp_path / "log").open("w")
    log = LogStream(file if closed else None, losses)
    file.close()
    log.write("x\n")
    assert losses.unwritable == 1


def test_a_pipe_whose_reader_stands_still_holds_up_one_line_and_none_after_it(
    pipe: tuple[int, TextIO], losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 0.2)
    reading, file = pipe
    log = LogStream(file, losses)

    def write_much() -> None:
        for _ in range(1000):
            log.write("x" * 999 + "\n")

    writer = threading.Thread(target=write_much)
    writer.start()
    writer.join(20)
    assert not writer.is_alive()
    assert losses.unwritable > 900
    received = os.read(reading, 1 << 20)
    lost = losses.unwritable
    log.write("and on\n")
    assert losses.unwritable == lost
    lines = (received + os.read(reading, 1 << 20)).decode().splitlines()
    assert lines[-1] == "and on", "a line of its own, though the one before it may have been torn"

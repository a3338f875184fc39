"""The file from which `verify` goes on: its own alone, whole at any moment."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.errors import Misconfigured, SubkeeperError
from worker.events.walk import Listed, Walk

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def begun(path: Path, *, resumed: bool = False, database: str = "db_1") -> Walk:
    walk = Walk(path, resumed=resumed)
    walk.begin(NOW, database=database, repair=False)
    return walk


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("content", ["of somebody", '{"page": []}\n', "{"])
def test_a_file_of_somebody_elses_is_left_as_it_is(tmp_path: Path, content: str, *, resumed: bool) -> None:
    path = tmp_path / "notes"
    path.write_text(content + "x" * 20)
    with pytest.raises(Misconfigured, match="holds something else"):
        Walk(path, resumed=resumed)
    assert path.read_text() == content + "x" * 20


def test_a_walk_that_was_killed_at_its_first_step_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    path.write_text('{"beg')
    with pytest.raises(Misconfigured, match="nothing to go on from"):
        Walk(path, resumed=True)
    path.write_text('{"beg')
    with begun(path) as walk:
        assert walk.is_under_way
    with begun(path, resumed=True):
        pass


def test_only_a_regular_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(Misconfigured):
            Walk(tmp_path / name)
    with pytest.raises(Misconfigured):
        Walk(Path("/dev/full"))
    assert not (tmp_path / "target").exists()


def test_a_walk_of_another_database_is_not_gone_on_with(tmp_path: Path) -> None:
    with begun(tmp_path / "progress"):
        pass
    with Walk(tmp_path / "progress", resumed=True) as walk, pytest.raises(Misconfigured, match="another database"):
        walk.begin(NOW, database="db_2", repair=False)


def test_what_a_full_disk_cut_off_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    with begun(path) as walk:
        walk.compared(Listed(["sub_1"], NOW, "sub_1"))
        with disk_of(path.stat().st_size + 10), pytest.raises(SubkeeperError, match="can't be written"):
            walk.compared(Listed(["sub_2"], NOW, "sub_2"))
        assert walk.place.after == "sub_1"
    with begun(path, resumed=True) as walk:
        assert (walk.place.after, list(walk.seen())) == ("sub_1", ["sub_1"])
        walk.compared(Listed(["sub_2"], NOW, None))
        assert (walk.place.lists, list(walk.seen())) == (1, ["sub_1", "sub_2"])

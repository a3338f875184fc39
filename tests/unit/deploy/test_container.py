"""The Containerfile, as far as it can be judged without building it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "deploy" / "Containerfile").read_text().replace("\\\n", " ")
LINES = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
IGNORE = (ROOT / ".dockerignore").read_text().splitlines()


def instructions(name: str, lines: list[str] = LINES) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in lines if line.split()[0] == name]


def last_stage() -> list[str]:
    starts = [number for number, line in enumerate(LINES) if line.startswith("FROM ")]
    return LINES[starts[-1] :]


def copied() -> list[str]:
    """What comes from the repository."""
    return [source for line in instructions("COPY") if "--from=" not in line for source in line.split()[:-1]]


def test_everything_that_is_copied_is_there_and_reaches_the_build() -> None:
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in IGNORE, source
    assert IGNORE[1] == "*", "nothing else does"


def test_every_package_of_the_wheel_is_copied() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(packages["packages"]) <= set(copied())


def test_the_base_is_one_released_version_and_the_same_in_both_stages() -> None:
    [base] = instructions("ARG")
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.1[123]\.\d+-slim-\w+", base)
    assert [line.split()[0] for line in instructions("FROM")] == ["${BASE}", "${BASE}"]


def test_everything_that_is_installed_is_locked_with_hashes() -> None:
    fetching = [line for line in instructions("RUN") if re.search(r"pip (install|wheel)", line)]
    assert len(fetching) == 3
    for line in fetching:
        assert "--require-hashes" in line or "--no-deps" in line
        assert "--no-build-isolation" in line or "build.lock" in line, "no build fetches anything by itself"
    assert "--no-index" in TEXT


def test_it_runs_as_nobody_in_particular_and_is_process_1_itself() -> None:
    """In exec form: a shell would not pass SIGTERM on, and the worker would be killed undrained."""
    [user] = instructions("USER", last_stage())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that Kubernetes can see that it isn't root"
    assert json.loads(instructions("ENTRYPOINT", last_stage())[0]) == ["subkeeper"]
    assert json.loads(instructions("CMD", last_stage())[0]) == ["run", "all"]
    assert instructions("STOPSIGNAL", last_stage()) == ["SIGTERM"]


def test_no_secret_is_in_it() -> None:
    given = " ".join([*instructions("ENV"), *instructions("ARG")])
    assert not re.search(r"SECRET|PASSWORD|TOKEN|DATABASE__URL", given)
    assert not [source for source in copied() if "config" in source or "secret" in source]

"""`config.example.toml` says what the models say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.settings.loading import ANY, SECRETS, keys_of
from worker.settings.model import Settings

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
_COMMENTED_KEY = re.compile(r"^# (?=[a-z_]+ = )", re.MULTILINE)


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.fixture
def everything() -> dict[str, Any]:
    """The example with the keys that have no default brought out of their comments."""
    return dict(_leaves(tomllib.loads(_COMMENTED_KEY.sub("", EXAMPLE.read_text()))))


def test_it_loads_as_it_stands_and_equals_the_defaults() -> None:
    assert Settings.load(EXAMPLE, {}) == Settings()


def test_no_key_is_missing_and_none_is_extra(everything: dict[str, Any]) -> None:
    settable = [key for key in keys_of(Settings) if key.path not in SECRETS]
    assert set(everything) == {".".join(key.path).replace(ANY, "pending") for key in settable}


def test_each_default_is_the_models() -> None:
    written = dict(_leaves(tomllib.loads(EXAMPLE.read_text())))
    defaults = dict(_leaves(Settings().effective()))
    assert written == {name: defaults[name] for name in written}


def test_only_what_has_no_default_stands_in_a_comment(everything: dict[str, Any]) -> None:
    written = dict(_leaves(tomllib.loads(EXAMPLE.read_text())))
    defaults = dict(_leaves(Settings().effective()))
    assert {name for name in everything if defaults[name] is None} == set(everything) - set(written)


def test_every_key_has_a_comment_of_its_own_right_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"(# )?[a-z_]+ = ", line)]
    assert [lines[number] for number in keys if not re.match(r"# [A-Z0-9]", lines[number - 1])] == []

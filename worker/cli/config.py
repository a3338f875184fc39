"""`subkeeper config`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from worker.cli.common import explained, loaded_for_people, seeded
from worker.runtime.checking import require_usable
from worker.settings.loading import SECRETS

_NOT_IN_FILES = {path[-1] for path in SECRETS}


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command(short_help="Would `run` start with them? Those in effect, masked.")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON instead of TOML.")
@click.pass_context
def check(context: click.Context, json_wanted: bool) -> None:
    """Check the settings as `run` does before it connects to anything, and print those in effect with secrets masked.

    Exit codes: 0 `run` would start with them (`doctor` also connects); 2 it would not.
    """
    with explained():
        settings = loaded_for_people(context)
        require_usable(settings, seeded())
        found = settings.effective()
        click.echo(json.dumps(found, indent=2) if json_wanted else as_toml(found))


def as_toml(values: Mapping[str, Any]) -> str:
    """`values`, as TOML; a key without a value stands in a comment."""
    return "\n".join(_toml_lines(values, ""))


def _toml_lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in table.items():
        if not isinstance(value, Mapping):
            if value is None:
                yield f"# {name} is not set"
            elif name in _NOT_IN_FILES:
                yield f"# {name}: {value}"
            else:
                yield f"{name} = {json.dumps(value, ensure_ascii=False)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            if not all(isinstance(inner, Mapping) for inner in value.values()):
                yield f"\n[{prefix}{name}]"
            yield from _toml_lines(value, f"{prefix}{name}.")

"""The settings in force, for `subkeeper config check`: everything, with secrets masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from worker.settings.keys import SECRETS
from worker.settings.model import Settings
from worker.settings.secrets import masked_url


def effective(settings: Settings) -> dict[str, Any]:
    """Every key with its value as JSON knows it; of a secret only whether it is set, and where.

    A key without a value is None. Of `database.url`, only the password is masked.
    """
    values = settings.model_dump(mode="json")
    values["database"]["url"] = masked_url(settings.database.url.get_secret_value())
    for path in SECRETS:
        table = values[path[0]] if path[1:] else values
        table[path[-1]] = str(settings.secret(path))
    return values


def as_json(values: Mapping[str, Any]) -> str:
    """What `effective` gave, as indented JSON."""
    return json.dumps(values, indent=2)


def as_toml(values: Mapping[str, Any]) -> str:
    """What `effective` gave, as TOML; a key without a value stands in a comment."""
    return "\n".join(_toml_lines(values, ""))


def _toml_lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in table.items():
        if not isinstance(value, Mapping):
            yield f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}"
    for name, value in table.items():
        if isinstance(value, Mapping):
            if not all(isinstance(inner, Mapping) for inner in value.values()):
                yield f"\n[{prefix}{name}]"
            yield from _toml_lines(value, f"{prefix}{name}.")

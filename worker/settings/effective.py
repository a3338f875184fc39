"""The settings in force, for `subkeeper config check`: everything, with secrets masked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from worker.settings.keys import KeyPath
from worker.settings.model import Settings

_MASK = "********"
_URL_PASSWORD = re.compile(r"(?P<before>://[^:/?#\s]*:)[^/?#\s]+(?=@)")
_QUERY_PASSWORD = re.compile(r"(?P<before>[?&]password=)[^&#\s]+")


def effective(settings: Settings) -> dict[str, Any]:
    """Every key with its value as JSON knows it; of a secret only whether it is set, and where.

    A key without a value is None. Of `database.url`, only the password is masked.
    """
    values: dict[str, Any] = _plain(settings)
    values["database"]["url"] = masked_url(settings.database.url.get_secret_value())
    values["secret_key"] = _state(settings, (), "secret_key")
    values["stripe"]["secret_key"] = _state(settings, ("stripe",), "secret_key")
    values["nsq"]["auth_secret"] = _state(settings, ("nsq",), "auth_secret")
    return values


def masked_url(url: str) -> str:
    """`url` with its password, if it has one, masked."""
    return _QUERY_PASSWORD.sub(rf"\g<before>{_MASK}", _URL_PASSWORD.sub(rf"\g<before>{_MASK}", url))


def _state(settings: Settings, section: KeyPath, name: str) -> str:
    table: Any = getattr(settings, section[0]) if section else settings
    if getattr(table, name) is not None:
        return f"{_MASK} (set by {settings.written((*section, name))})"
    file = getattr(table, f"{name}_file")
    if file is not None:
        return f"{_MASK} (read from {file}, set by {settings.written((*section, f'{name}_file'))})"
    return "not set"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


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

"""Where settings come from: one TOML file, environment variables over it. Values are only gathered here."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker.errors import Misconfigured
from worker.settings.keys import PREFIX, SECRETS_OF_THE_ENVIRONMENT, STRIPE_NAMES, Key, KeyPath

CONFIG_VARIABLE = "SUBKEEPER_CONFIG"
_NO_SETTINGS = frozenset({CONFIG_VARIABLE, "SUBKEEPER_TEST_SEED"})
"""Variables with our prefix that mean something else."""

_KUBERNETES = re.compile(
    r"[A-Z0-9]+(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)"
)
"""What Kubernetes puts into every container beside a Service whose name begins with "subkeeper"."""


@dataclass
class Gathered:
    """The values found (nested like the TOML file), who wrote each key, and what cannot be used."""

    values: dict[str, Any] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Misconfigured] = field(default_factory=list)

    def name_of(self, path: KeyPath) -> str:
        """The key as the user wrote it: the variable's name, else `section.key`."""
        return self.written.get(path, ".".join(path))


def gather(path: Path | None, environ: Mapping[str, str], keys: Sequence[Key]) -> Gathered:
    """Read the file (`path`, else `SUBKEEPER_CONFIG`, else none), then the environment over it."""
    found = Gathered()
    _read_file(path, environ, keys, found)
    for name in sorted(environ, key=lambda name: (name in STRIPE_NAMES, name)):
        if name in STRIPE_NAMES or _is_ours(name, environ[name]):
            _read_variable(name, environ[name], keys, found)
    return found


def _read_file(path: Path | None, environ: Mapping[str, str], keys: Sequence[Key], found: Gathered) -> None:
    name = "--config" if path else CONFIG_VARIABLE
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    if path is None:
        return
    try:
        found.values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        fix = "Name a TOML file that this process may read"
        found.problems.append(Misconfigured(name, f"cannot read {path}: {reason}", fix))
    except tomllib.TOMLDecodeError as error:
        found.problems.append(Misconfigured(name, f"{path} is not TOML: {error}", "Correct that place"))
    _refuse_secrets(found)
    _anchor_paths(path.resolve().parent, keys, found.values)


def _refuse_secrets(found: Gathered) -> None:
    """Take plain secrets out of the file's values, with a problem for each, so that a file can be committed."""
    for path, fix in SECRETS_OF_THE_ENVIRONMENT.items():
        table = _table(found.values, path[:-1])
        if table is not None and table.pop(path[-1], None) is not None:
            found.problems.append(Misconfigured(".".join(path), "is a secret in the configuration file", fix))
    database = _table(found.values, ("database",))
    if database is not None and _has_password(database.get("url")):
        del database["url"]
        fix = "Set SUBKEEPER_DATABASE__URL, or keep the password in PGPASSWORD or ~/.pgpass"
        found.problems.append(Misconfigured("database.url", "holds a password in the file", fix))


def _has_password(url: Any) -> bool:
    try:
        return isinstance(url, str) and (bool(urlsplit(url).password) or "password=" in urlsplit(url).query)
    except ValueError:
        return False


def _anchor_paths(folder: Path, keys: Sequence[Key], values: dict[str, Any]) -> None:
    """A relative path in the file is relative to the file's folder."""
    for key in keys:
        table = _table(values, key.path[:-1]) if key.is_path else None
        if table is not None and isinstance(table.get(key.path[-1]), str):
            table[key.path[-1]] = str(folder / table[key.path[-1]])


def _table(values: dict[str, Any], path: KeyPath) -> dict[str, Any] | None:
    table: Any = values
    for part in path:
        table = table.get(part) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else None


def _is_ours(name: str, value: str) -> bool:
    if not name.startswith(PREFIX) or name in _NO_SETTINGS:
        return False
    from_kubernetes = _KUBERNETES.fullmatch(name) or (name.endswith("_PORT") and value.startswith("tcp://"))
    return "__" in name or not from_kubernetes


def _read_variable(name: str, text: str, keys: Sequence[Key], found: Gathered) -> None:
    path = STRIPE_NAMES.get(name) or tuple(name.removeprefix(PREFIX).lower().split("__"))
    key = next((key for key in keys if key.matches(path)), None)
    if key is None:
        found.problems.append(_unknown_variable(name, keys))
        return
    if not text and key.is_secret:
        return  # an empty secret is one that was not given
    try:
        value = _parse(text, key)
    except ValueError:
        found.problems.append(Misconfigured(name, "is not a list", 'Write a,b or a JSON list such as ["a", "b"]'))
        return
    table = found.values
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # the file has a plain value where a table belongs: found when the whole is validated
        table = inner
    table[path[-1]] = value
    found.written[path] = name


def _unknown_variable(name: str, keys: Sequence[Key]) -> Misconfigured:
    near = suggestion(name, [key.variable for key in keys])
    return Misconfigured(name, "is not a setting", f"Did you mean {near}?" if near else "Unset it, or correct it")


def suggestion(name: str, candidates: Sequence[str]) -> str | None:
    """The nearest known name, or None if nothing is near."""
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=0.65)), None)


def _parse(text: str, key: Key) -> Any:
    """A variable's text as pydantic takes it. Raises ValueError on a malformed JSON list."""
    if key.is_list:
        return _parse_list(text)
    return None if key.is_optional and not text else text


def _parse_list(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [part.strip() for part in text.split(",") if part.strip()]

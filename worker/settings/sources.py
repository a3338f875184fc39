"""Where settings come from: one TOML file, environment variables over it. Values are only gathered here."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from pydantic import SecretStr

from worker.errors import Misconfigured
from worker.settings.keys import PREFIX, SECRETS, STRIPE_NAMES, Key, KeyPath, variable
from worker.settings.problems import suggestion
from worker.settings.secrets import masked_url, read_text

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

    def table(self, path: KeyPath) -> dict[str, Any]:
        """The table at `path`, made where it is missing; where a plain value stands, which validating refuses, one that
        nobody reads."""
        table = self.values
        for part in path:
            inner = table.setdefault(part, {})
            table = inner if isinstance(inner, dict) else {}
        return table


def gather(path: Path | None, environ: Mapping[str, str], keys: Sequence[Key]) -> Gathered:
    """Read the file (`path`, else `SUBKEEPER_CONFIG`, else none), then the environment over it."""
    found = Gathered()
    named = environ.get(CONFIG_VARIABLE)
    if path or named:
        try:
            _read_file("--config" if path else CONFIG_VARIABLE, path or Path(named or ""), keys, found)
        except Misconfigured as problem:
            found.problems.append(problem)
    for name in sorted(environ, key=lambda name: (name in STRIPE_NAMES, name)):
        if name in STRIPE_NAMES or _is_ours(name, environ[name]):
            _read_variable(name, environ[name], keys, found)
    return found


def _read_file(name: str, file: Path, keys: Sequence[Key], found: Gathered) -> None:
    try:
        found.values = tomllib.loads(read_text(name, file, "TOML file"))
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(name, f"{file} is not TOML: {error}", "Correct that place") from None
    _refuse_secrets(found)
    for path in (key.path for key in keys if Path in key.kinds):  # a relative one is relative to the file's folder
        table = found.table(path[:-1])
        if isinstance(given := table.get(path[-1]), str):
            table[path[-1]] = str(file.resolve().parent / given)


def _refuse_secrets(found: Gathered) -> None:
    """Take plain secrets out of the file's values, with a problem for each, so that a file can be committed."""
    for path in SECRETS:
        if found.table(path[:-1]).pop(path[-1], None) is not None:
            dotted = ".".join(path)
            fix = f"Set {variable(path)}, or name a file in {dotted}_file"
            found.problems.append(Misconfigured(dotted, "is a secret in the configuration file", fix))
    database = found.table(("database",))
    if isinstance(url := database.get("url"), str) and masked_url(url) != url:
        del database["url"]
        fix = "Set SUBKEEPER_DATABASE__URL, or keep the password in PGPASSWORD or ~/.pgpass"
        found.problems.append(Misconfigured("database.url", "holds a password in the file", fix))


def _is_ours(name: str, value: str) -> bool:
    if not name.startswith(PREFIX) or name in _NO_SETTINGS:
        return False
    from_kubernetes = _KUBERNETES.fullmatch(name) or (name.endswith("_PORT") and value.startswith("tcp://"))
    return "__" in name or not from_kubernetes


def _read_variable(name: str, text: str, keys: Sequence[Key], found: Gathered) -> None:
    path = STRIPE_NAMES.get(name) or tuple(name.removeprefix(PREFIX).lower().split("__"))
    key = next((key for key in keys if key.matches(path)), None)
    if key is None:
        near = suggestion(name, [variable(key.path) for key in keys])
        fix = f"Did you mean {near}?" if near else "Unset it, or correct it"
        found.problems.append(Misconfigured(name, "is not a setting", fix))
    elif text or SecretStr not in key.kinds:  # an empty secret is one that was not given
        try:
            found.table(path[:-1])[path[-1]] = _parsed(text, key)
        except ValueError:
            fix = 'Write a,b or a JSON list such as ["a", "b"]'
            found.problems.append(Misconfigured(name, "is not a list", fix))
        else:
            found.written[path] = name


def _parsed(text: str, key: Key) -> Any:
    """A variable's text as pydantic takes it. Raises ValueError on a malformed JSON list."""
    if tuple not in key.kinds:
        return None if NoneType in key.kinds and not text else text
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [part.strip() for part in text.split(",") if part.strip()]

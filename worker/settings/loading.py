"""Loading: which keys there are, what the TOML file and the environment say, and what of it cannot be used.

Keys are derived from the models, each with its environment variable. Values are only gathered; the models check them,
and what they find is told under the key as its writer knows it, all of it at once.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from worker.domain.address import NotAnAddress
from worker.errors import Misconfigured
from worker.settings.kinds import BadValueError
from worker.settings.secrets import passwords_of, read_text

KeyPath = tuple[str, ...]
ANY = "*"
"""Stands in a key's path for the name of a table that the user chooses (`plans.*.currency`)."""

SECRETS: tuple[KeyPath, ...] = (
    ("secret_key",),
    ("stripe", "secret_key"),
    ("stripe", "webhook_secrets"),
    ("nsq", "auth_secret"),
    ("api", "jwt_secret"),
)
"""Keys that the TOML file may not hold: for the environment, or in a file that the key `…_file` names."""

PREFIX = "SUBKEEPER_"
STRIPE_NAMES: dict[str, KeyPath] = {
    "STRIPE_SECRET_KEY": ("stripe", "secret_key"),
    "STRIPE_SECRET_KEY_FILE": ("stripe", "secret_key_file"),
    "STRIPE_WEBHOOK_SECRETS": ("stripe", "webhook_secrets"),
    "STRIPE_WEBHOOK_SECRETS_FILE": ("stripe", "webhook_secrets_file"),
}
"""Variables whose name is a convention older than ours."""


def variable(path: KeyPath) -> str:
    """The environment variable that overrides the key at `path`."""
    return next((name for name, key in STRIPE_NAMES.items() if key == path), _own_variable(path))


def _own_variable(path: KeyPath) -> str:
    return PREFIX + "__".join(path).upper()


class Key(NamedTuple):
    """One settable key; `kinds` are the plain types in its annotation: of `tuple[str, ...] | None` those three."""

    path: KeyPath
    kinds: set[Any]

    def matches(self, path: KeyPath) -> bool:
        if ANY not in self.path:  # of nearly all keys, each of which is compared with every variable
            return path == self.path
        return len(path) == len(self.path) and self.lies_in(path)

    def lies_in(self, table: Sequence[str]) -> bool:
        """Whether it is in (or below) the table at that path; the empty path is the whole file."""
        return all(mine in (ANY, theirs) for mine, theirs in zip(self.path, table, strict=False))


def keys_of(model: type[BaseModel], prefix: KeyPath = ()) -> Iterator[Key]:
    """Every key below `model`, in the order of the models."""
    for name, info in model.model_fields.items():
        path, kinds = (*prefix, name), _kinds(info.annotation)
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            yield from keys_of(sections[0], (*path, ANY) if dict in kinds else path)
        else:
            yield Key(path, kinds)


def _kinds(annotation: Any) -> set[Any]:
    inner = get_args(annotation)[:1] if hasattr(annotation, "__metadata__") else get_args(annotation)
    return {get_origin(annotation) or annotation}.union(*(_kinds(each) for each in inner))


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

    def refuse(self, key: str, problem: str, fix: str) -> None:
        self.problems.append(Misconfigured(key, problem, fix))

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
            found.refuse(dotted, "is a secret in the configuration file", fix)
    database = found.table(("database",))
    if isinstance(url := database.get("url"), str) and passwords_of(url):
        del database["url"]
        fix = "Set SUBKEEPER_DATABASE__URL, or keep the password in PGPASSWORD or ~/.pgpass"
        found.refuse("database.url", "holds a password in the file", fix)


def _is_ours(name: str, value: str) -> bool:
    if not name.startswith(PREFIX) or name in _NO_SETTINGS:
        return False
    from_kubernetes = _KUBERNETES.fullmatch(name) or (name.endswith("_PORT") and value.startswith("tcp://"))
    return "__" in name or not from_kubernetes


def _read_variable(name: str, text: str, keys: Sequence[Key], found: Gathered) -> None:
    path = STRIPE_NAMES.get(name) or tuple(name.removeprefix(PREFIX).lower().split("__"))
    key = next((key for key in keys if key.matches(path)), None)
    if key is None:
        near = suggestion(name, [*STRIPE_NAMES, *(_own_variable(key.path) for key in keys), CONFIG_VARIABLE])
        fix = f"Did you mean {near}?" if near else "Unset it, or correct it"
        found.refuse(name, "is not a setting", fix)
    elif text.strip() or SecretStr not in key.kinds:  # an empty secret is one that was not given
        try:
            found.table(path[:-1])[path[-1]] = _parsed(text, key)
        except ValueError:
            found.refuse(name, "is not a list", 'Write a,b or a JSON list such as ["a", "b"]')
        else:
            found.written[path] = name


def _parsed(text: str, key: Key) -> Any:
    """A variable's text as pydantic takes it. Raises ValueError on a malformed JSON list."""
    if tuple not in key.kinds:
        return None if NoneType in key.kinds and not text else text
    if re.match(r"\s*\[\s*[\"\]]", text):  # and not an IPv6 address
        return list(json.loads(text))
    return [part.strip() for part in text.split(",") if part.strip()]


_DEFAULT_FIX = "Correct it; config.example.toml shows every key with its default and unit"

_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "is not a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "is not a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false"),
    **dict.fromkeys(("list_type", "tuple_type"), 'is not a list, such as ["a", "b"]'),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "is not a table of settings"),
    "extra_forbidden": "is not a setting",
    "finite_number": "is not a finite number",
    "string_type": 'is not a text, such as "a"',
    "string_pattern_mismatch": "does not match {pattern}",
    "literal_error": "is not {expected}",
    "greater_than": "is not more than {gt}",
    "greater_than_equal": "is less than {ge}",
    "less_than": "is not less than {lt}",
    "less_than_equal": "is more than {le}",
}
"""pydantic's kinds of errors in the words of whoever wrote the file; others keep pydantic's."""


class InvalidSettings(Misconfigured):
    """One or more settings cannot be used; `problems` holds all of them, the first also stands for the whole."""

    def __init__(self, problems: Sequence[Misconfigured]) -> None:
        first = problems[0]
        super().__init__(first.key, first.problem, first.fix)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """One line for each problem."""
        return "\n".join(str(problem) for problem in self.problems)


def translated(error: ValidationError, written: Mapping[KeyPath, str], keys: Sequence[Key]) -> Iterator[Misconfigured]:
    """pydantic's findings as ours, without the values it saw (one may be a secret). `written`: `Gathered.written`."""
    for detail in error.errors(include_url=False, include_input=False):
        path = tuple(part for part in detail["loc"] if isinstance(part, str) and part != "[key]")
        kind, context, said = detail["type"], detail.get("ctx", {}), detail["msg"]
        problem = _WORDS[kind].format(**context) if kind in _WORDS else said[:1].lower() + said[1:]
        fix = _known_instead(path, keys) if kind == "extra_forbidden" else _DEFAULT_FIX
        if isinstance(cause := context.get("error"), BadValueError | NotAnAddress):
            problem, fix = str(cause), cause.fix
        yield Misconfigured(written.get(path, ".".join(path)), problem, fix)


def _known_instead(path: KeyPath, keys: Sequence[Key]) -> str:
    known = sorted({key.path[len(path) - 1] for key in keys if key.lies_in(path[:-1]) and key.path not in SECRETS})
    near = suggestion(path[-1], known)
    return f"Did you mean {near}?" if near else f"Remove it; known here: {', '.join(known)}"


def suggestion(name: str, candidates: Sequence[str]) -> str | None:
    """The nearest known name, or None if nothing is near."""
    return next(iter(difflib.get_close_matches(name, candidates, n=1, cutoff=0.65)), None)

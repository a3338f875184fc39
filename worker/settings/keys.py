"""Every key that can be set, derived from the models: its path, its kind, its environment variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr

KeyPath = tuple[str, ...]
ANY = "*"
"""Stands in a key's path for the name of a table that the user chooses (`plans.*.currency`)."""

PREFIX = "SUBKEEPER_"
STRIPE_NAMES: dict[str, KeyPath] = {
    "STRIPE_SECRET_KEY": ("stripe", "secret_key"),
    "STRIPE_SECRET_KEY_FILE": ("stripe", "secret_key_file"),
}
"""Variables whose name is a convention older than ours."""

SECRETS_OF_THE_ENVIRONMENT: dict[KeyPath, str] = {
    ("secret_key",): "Set SUBKEEPER_SECRET_KEY, or name a file in secret_key_file",
    ("stripe", "secret_key"): "Set STRIPE_SECRET_KEY, or name a file in stripe.secret_key_file",
    ("nsq", "auth_secret"): "Set SUBKEEPER_NSQ__AUTH_SECRET, or name a file in nsq.auth_secret_file",
}
"""Keys that the TOML file may not hold, with what to do instead."""


@dataclass(frozen=True)
class Key:
    """One settable key."""

    path: KeyPath
    is_list: bool
    is_path: bool
    is_secret: bool
    is_optional: bool

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return next(
            (name for name, path in STRIPE_NAMES.items() if path == self.path),
            PREFIX + "__".join(self.path).upper(),
        )

    def matches(self, path: Sequence[str]) -> bool:
        return len(path) == len(self.path) and self.matches_table(path)

    def matches_table(self, path: Sequence[str]) -> bool:
        """Whether the key lies in (or below) the table at `path`; the empty path is the whole file."""
        return len(path) <= len(self.path) and all(
            mine in (ANY, theirs) for mine, theirs in zip(self.path, path, strict=False)
        )


def keys_of(model: type[BaseModel], prefix: KeyPath = ()) -> Iterator[Key]:
    """Every key below `model`, in the order of the models."""
    for name, field in model.model_fields.items():
        kinds = set(_flatten(field.annotation))
        path = (*prefix, name)
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            yield from keys_of(sections[0], (*path, ANY) if dict in kinds else path)
        else:
            yield Key(path, tuple in kinds, Path in kinds, SecretStr in kinds, type(None) in kinds)


def _flatten(annotation: Any) -> Iterator[Any]:
    """The plain types inside an annotation: `tuple[str, ...] | None` gives tuple, str and NoneType."""
    origin = get_origin(annotation)
    if origin is None:
        yield annotation
        return
    yield origin
    for argument in get_args(annotation):
        if argument is not Ellipsis:
            yield from _flatten(argument)

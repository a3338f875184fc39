"""Every key that can be set, derived from the models: its path, its kinds, its environment variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

KeyPath = tuple[str, ...]
ANY = "*"
"""Stands in a key's path for the name of a table that the user chooses (`plans.*.currency`)."""

SECRETS: tuple[KeyPath, ...] = (("secret_key",), ("stripe", "secret_key"), ("nsq", "auth_secret"))
"""Keys that the TOML file may not hold: for the environment, or in a file that the key `…_file` names."""

PREFIX = "SUBKEEPER_"
STRIPE_NAMES: dict[str, KeyPath] = {
    "STRIPE_SECRET_KEY": ("stripe", "secret_key"),
    "STRIPE_SECRET_KEY_FILE": ("stripe", "secret_key_file"),
}
"""Variables whose name is a convention older than ours."""


def variable(path: KeyPath) -> str:
    """The environment variable that overrides the key at `path`."""
    return next((name for name, key in STRIPE_NAMES.items() if key == path), PREFIX + "__".join(path).upper())


class Key(NamedTuple):
    """One settable key; `kinds` are the plain types in its annotation: of `tuple[str, ...] | None` those three."""

    path: KeyPath
    kinds: set[Any]

    def matches(self, path: Sequence[str]) -> bool:
        return len(path) == len(self.path) and self.lies_in(path)

    def lies_in(self, table: Sequence[str]) -> bool:
        """Whether it is in (or below) the table at that path; the empty path is the whole file."""
        return all(mine in (ANY, theirs) for mine, theirs in zip(self.path, table, strict=False))


def keys_of(model: type[BaseModel], prefix: KeyPath = ()) -> Iterator[Key]:
    """Every key below `model`, in the order of the models."""
    for name, field in model.model_fields.items():
        path, kinds = (*prefix, name), _kinds(field.annotation)
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            yield from keys_of(sections[0], (*path, ANY) if dict in kinds else path)
        else:
            yield Key(path, kinds)


def _kinds(annotation: Any) -> set[Any]:
    inner = get_args(annotation)[:1] if hasattr(annotation, "__metadata__") else get_args(annotation)
    return {get_origin(annotation) or annotation}.union(*(_kinds(each) for each in inner))

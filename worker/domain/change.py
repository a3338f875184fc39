"""A change of a subscription's row, as other services hear of it (docs/changes.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

Columns: TypeAlias = str
"""A row's columns by name, as a JSON object; times are texts of RFC 3339. Nobody here looks into it."""


@dataclass(frozen=True, slots=True)
class Change:
    """`before` is None for a row that is new, `after` for one that was removed; a removed one keeps its last
    `version`.

    `subscription` is Stripe's id. It is a user's, or a project's (`user_id` None). `cause` says what happened, in a
    word; new ones may come at any time.
    """

    id: int
    user_id: str | None
    subscription: str
    version: int
    before: Columns | None
    after: Columns | None
    cause: str
    project_id: str | None = None

    def body(self) -> bytes:
        """The message on NSQ."""
        message = {
            "id": self.id,
            "user_id": self.user_id,
            "subscription": self.subscription,
            "version": self.version,
            "before": _as_it_is(self.before),
            "after": _as_it_is(self.after),
            "cause": self.cause,
        }
        if self.project_id is not None:
            message["project_id"] = self.project_id
        return msgspec.json.encode(message)


def _as_it_is(columns: Columns | None) -> msgspec.Raw | None:
    return None if columns is None else msgspec.Raw(columns)

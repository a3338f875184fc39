"""When a refusal is in doubt: whether the row or everybody is at fault.

What hits a row while others pass is that row's; what hits everybody is nobody's. So no refusal says anything by itself:
it is noted on its row, and what becomes of others decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DOUBTED_USERS = 3
"""So many users with the same refusal, and nobody who passed since, are in doubt."""

GRACE = 2.0
"""Seconds that a refusal must be old for that: the rows beside it need as long to pass."""

MOST_IN_GRACE = 30
"""So many users are in doubt at once: what we refuse by ourselves takes a millisecond a row."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The same refusal of `users` rows while nobody passed; the first of them `age` seconds ago. `what`: a constant
    text, without what differs from row to row."""

    what: str
    users: int
    age: float


def in_doubt(refusals: Iterable[Refusal]) -> Refusal | None:
    """The refusal that stops the others from being asked for all at once, if one does: the one of most users."""
    doubted = [
        each for each in refusals if each.users >= MOST_IN_GRACE or (each.users >= DOUBTED_USERS and each.age >= GRACE)
    ]
    return max(doubted, key=lambda each: each.users, default=None)

"""Something scarce, shared by weight: at once (`spread`, `due_shares`) or in turn (`Turns`, `Rotation`).

Whole messages in flight are RDY's: nsqd takes RDY n as "at most n in flight on this connection", so a share needs to be
sent only when it changes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


def spread(total: int, weights: Mapping[Key, float], caps: Mapping[Key, int]) -> dict[Key, int]:
    """`total` shared by weight: 1 for each first, the rest by largest remainder, none above its cap.

    Takes at least as many as there are keys. `caps` is nsqd's own limit for one connection (2,500 by default; more is
    an error that costs the connection).
    """
    rest = total - len(weights)
    whole = sum(weights.values())
    exact = {key: rest * weight / whole for key, weight in weights.items()}
    shares = {key: 1 + int(share) for key, share in exact.items()}
    leftover = total - sum(shares.values())
    by_remainder = sorted(exact, key=lambda key: exact[key] - int(exact[key]), reverse=True)
    for key in by_remainder[:leftover]:
        shares[key] += 1
    return {key: min(share, caps[key]) for key, share in shares.items()}


def due_shares(total: float, weights: Mapping[Key, float], most: Mapping[Key, float]) -> dict[Key, float]:
    """`total` shared by weight, in fractions; what is above a key's `most` goes to the others, by weight again.

    Nobody is ever due what he cannot take: credit for it would add up for as long as that lasts.
    """
    due: dict[Key, float] = {}
    open_to_more, rest = dict(weights), total
    while open_to_more:
        whole = sum(open_to_more.values())
        full = [key for key, weight in open_to_more.items() if rest * weight >= most[key] * whole]
        if not full:
            return due | {key: rest * weight / whole for key, weight in open_to_more.items()}
        for key in full:
            del open_to_more[key]
            due[key] = most[key]
        rest = total - sum(due.values())
    return due


class Turns(Generic[Key]):
    """Who is next, by weight: whoever has had least for it (stride scheduling), of those that are level the first."""

    def __init__(self) -> None:
        self._had: dict[Key, float] = {}
        self._level = 0.0

    def next(self, weights: Mapping[Key, float], waiting: Collection[Key] | None = None) -> Key:
        """One of those in `weights`; all of them might be next. `waiting`: who waits besides and can't be served just
        now. Whoever doesn't wait is owed nothing for that time: it starts level with the others."""
        for key in weights:
            self._had.setdefault(key, self._level)
        key = min(weights, key=lambda each: self._had[each])
        self._level = max(self._level, self._had[key])
        for other in self._had.keys() - (weights.keys() if waiting is None else waiting):
            self._had[other] = max(self._had[other], self._level)
        self._had[key] += 1.0 / weights[key]
        return key

    def keep_only(self, keys: Collection[Key]) -> None:
        """The others are gone for good."""
        self._had = {key: had for key, had in self._had.items() if key in keys}


class Rotation(Generic[Key]):
    """More connections than max_in_flight: they take turns, each as often as its weight says, where that is possible.

    One that is due more than every turn has every turn, and is owed nothing.
    """

    def __init__(self) -> None:
        self._turns: Turns[Key] = Turns()

    def turn(self, slots: int, weights: Mapping[Key, float]) -> list[Key]:
        """The `slots` keys whose turn it is, the longest waiting first."""
        self._turns.keep_only(weights)
        left = dict(weights)
        chosen = []
        for _ in range(slots):
            key = self._turns.next(left)
            del left[key]
            chosen.append(key)
        return chosen

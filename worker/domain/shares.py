"""RDY: how many messages each connection may have in flight, so that all together stay within max_in_flight.

nsqd takes RDY n as "at most n in flight on this connection", so a share needs to be sent only when it changes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
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


class Rotation(Generic[Key]):
    """More connections than max_in_flight: they take turns, each as often as its weight says, where that is possible.

    Smooth weighted round robin: a turn costs one credit, each round gives credit by weight, one at most.
    """

    def __init__(self) -> None:
        self._credits: dict[Key, float] = {}

    def turn(self, slots: int, weights: Mapping[Key, float]) -> list[Key]:
        """The `slots` keys whose turn it is, the longest waiting first."""
        due = due_shares(slots, weights, dict.fromkeys(weights, 1.0))
        self._credits = {key: self._credits.get(key, 0.0) + due[key] for key in weights}
        chosen = sorted(self._credits, key=lambda key: self._credits[key], reverse=True)[:slots]
        for key in chosen:
            self._credits[key] -= 1.0
        return chosen

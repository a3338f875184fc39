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


class Rotation(Generic[Key]):
    """More connections than max_in_flight: they take turns, each as often as its weight says.

    Smooth weighted round robin: a turn costs one credit, each round gives credit by weight.
    """

    def __init__(self) -> None:
        self._credits: dict[Key, float] = {}

    def turn(self, slots: int, weights: Mapping[Key, float]) -> list[Key]:
        """The `slots` keys whose turn it is, the longest waiting first."""
        whole = sum(weights.values())
        self._credits = {key: self._credits.get(key, 0.0) + slots * weight / whole for key, weight in weights.items()}
        chosen = sorted(self._credits, key=lambda key: self._credits[key], reverse=True)[:slots]
        for key in chosen:
            self._credits[key] -= 1.0
        return chosen

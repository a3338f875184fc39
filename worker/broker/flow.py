"""Keeps each link's RDY at its share of max_in_flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from worker.broker.connection import NsqConnection
from worker.broker.link import Link
from worker.broker.ready import Rotation, spread

TURN = 0.25
"""Seconds that a connection keeps its turn when there are more connections than max_in_flight."""


class Flow:
    """Weights are by topic; the links of one topic share its weight evenly."""

    def __init__(self, max_in_flight: int, weights: Mapping[str, int], clock: Callable[[], float]) -> None:
        self.paused = False
        self.next_turn = float("inf")
        self._total = max_in_flight
        self._weights = dict(weights)
        self._clock = clock
        self._rotation: Rotation[Link] = Rotation()
        self._turn: list[Link] = []
        self._seen: tuple[bool, tuple[NsqConnection | None, ...]] | None = None

    def update(self, links: Collection[Link]) -> None:
        """Queue a RDY where a share has changed. `links` are those that are connected."""
        seen = (self.paused, tuple(link.connection for link in links))
        rotating = not self.paused and len(links) > self._total
        if seen == self._seen and not rotating:
            return
        self._seen = seen
        if not rotating:
            self.next_turn = float("inf")  # nobody's turn is to end: a time that has passed would keep the loop awake
        shares = {} if self.paused or not links else self._shares(links)
        for link in sorted(links, key=lambda link: shares.get(link, 0) > link.ready):  # take away before giving
            link.set_ready(shares.get(link, 0))

    def _shares(self, links: Collection[Link]) -> dict[Link, int]:
        per_topic = Counter(link.route.topic for link in links)
        weights = {link: self._weights[link.route.topic] / per_topic[link.route.topic] for link in links}
        if len(links) > self._total:
            return self._take_turns(weights)
        return spread(self._total, weights, {link: _cap(link) for link in links})

    def _take_turns(self, weights: Mapping[Link, float]) -> dict[Link, int]:
        """RDY 1 for those whose turn it is, as far as the others have nothing in flight any more."""
        now = self._clock()
        if now >= self.next_turn or self.next_turn == float("inf") or not all(link in weights for link in self._turn):
            self._turn = self._rotation.turn(self._total, weights)
            self.next_turn = now + TURN
        busy = sum(len(link.connection.in_flight) for link in weights if link.connection and link not in self._turn)
        return dict.fromkeys(self._turn[: max(0, self._total - busy)], 1)


def _cap(link: Link) -> int:
    assert link.connection is not None
    return link.connection.max_rdy_count

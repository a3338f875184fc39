"""Keeps each subscription's RDY at its share of max_in_flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from worker.broker.connection import NsqConnection
from worker.broker.subscription import Subscription
from worker.domain.shares import Rotation, spread

TURN = 0.25
"""Seconds that a connection keeps its turn when there are more connections than max_in_flight."""


class Flow:
    """Weights are by topic; the subscriptions of one topic share its weight evenly."""

    def __init__(self, max_in_flight: int, weights: Mapping[str, int], clock: Callable[[], float]) -> None:
        self.paused = False
        self.next_turn = float("inf")
        self._total = max_in_flight
        self._weights = dict(weights)
        self._clock = clock
        self._rotation: Rotation[Subscription] = Rotation()
        self._turn: list[Subscription] = []
        self._seen: tuple[bool, tuple[NsqConnection | None, ...]] | None = None

    def update(self, subscriptions: Collection[Subscription]) -> None:
        """Queue a RDY where a share has changed. `subscriptions` are those that are connected."""
        seen = (self.paused, tuple(subscription.connection for subscription in subscriptions))
        rotating = not self.paused and len(subscriptions) > self._total
        if seen == self._seen and not rotating:
            return
        self._seen = seen
        if not rotating:
            self.next_turn = float("inf")  # nobody's turn is to end: a time that has passed would keep the loop awake
        shares = {} if self.paused or not subscriptions else self._shares(subscriptions)
        for subscription in sorted(
            subscriptions, key=lambda subscription: shares.get(subscription, 0) > subscription.ready
        ):  # take away before giving
            subscription.set_ready(shares.get(subscription, 0))

    def _shares(self, subscriptions: Collection[Subscription]) -> dict[Subscription, int]:
        per_topic = Counter(subscription.route.topic for subscription in subscriptions)
        weights = {
            subscription: self._weights[subscription.route.topic] / per_topic[subscription.route.topic]
            for subscription in subscriptions
        }
        if len(subscriptions) > self._total:
            return self._take_turns(weights)
        return spread(self._total, weights, {subscription: _cap(subscription) for subscription in subscriptions})

    def _take_turns(self, weights: Mapping[Subscription, float]) -> dict[Subscription, int]:
        """RDY 1 for those whose turn it is, as far as the others have nothing in flight any more."""
        now = self._clock()
        if (
            now >= self.next_turn
            or self.next_turn == float("inf")
            or not all(subscription in weights for subscription in self._turn)
        ):
            self._turn = self._rotation.turn(self._total, weights)
            self.next_turn = now + TURN
        busy = sum(
            subscription.connection.in_flight
            for subscription in weights
            if subscription.connection and subscription not in self._turn
        )
        return dict.fromkeys(self._turn[: max(0, self._total - busy)], 1)


def _cap(subscription: Subscription) -> int:
    assert subscription.connection is not None
    return subscription.connection.max_rdy_count

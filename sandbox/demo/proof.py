"""Whether every row says what Stripe says: compared as `subkeeper verify` does, once all that happened was heard."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sandbox.demo.verdict import Events
from sandbox.sandbox import Sandbox
from worker.domain.drift import Finding
from worker.events.walk import Walk
from worker.runtime.verifying import verify
from worker.settings.model import Settings
from worker.store import overview
from worker.store.engine.database import Database


class Silent:
    """Tells nobody how far it got."""

    def advanced(self, subscriptions: int) -> None:
        pass


class Heard:
    """Whether these events of Stripe's (by their ids) were processed, and what followed is done and told."""

    def __init__(self, database: Database, events: Sequence[str]) -> None:
        self._database = database
        self._events = events

    def all(self) -> bool:
        with self._database.transaction() as tx:
            return not (overview.unheard(tx, self._events) or overview.under_way(tx))


def drift(settings: Settings, rng: random.Random) -> list[Finding]:
    """Each difference between Stripe and our tables."""
    with Walk(None) as walk:
        return list(verify(settings, (), walk, Silent(), rng, repair=False, say_cost=lambda _cost: None))


def events(database: Database, sandbox: Sandbox, topic: str) -> Events:
    """What was heard: `received` by nsqd's count, the rest by our tables."""
    with database.transaction() as tx:
        outcomes = overview.outcomes(tx)
    received = sandbox.nsqd.published(topic)
    return Events(
        received=received,
        duplicates=received - sum(outcomes.values()),
        stale=outcomes.get("stale", 0),
        refreshed=outcomes.get("refreshing", 0),
        applied=outcomes.get("applied", 0),
    )

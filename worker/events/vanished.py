"""Subscriptions that Stripe no longer has: believed when a later question is answered alike, and then set aside."""

from __future__ import annotations

from datetime import timedelta

import structlog

from worker.store import events, refreshes, subscriptions
from worker.store.engine.database import Database
from worker.store.refreshes import Refresh
from worker.stripe_api.errors import CustomerGone, Refused

MISSING = "resource_missing"

CONFIRM_AFTER = timedelta(minutes=1)
"""Between the two questions: a Stripe that for a moment doesn't find what it has is believed once only."""

ASK_AGAIN = timedelta(days=7)
"""After which one that was set aside is asked for again. An event about it asks at once."""


def is_missing(refused: Exception) -> bool:
    """Whether Stripe says that there is no such subscription."""
    return isinstance(refused, (Refused, CustomerGone)) and refused.failure.code == MISSING


class Vanished:
    """`denied` writes down what Stripe has said of a leased mark."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = structlog.get_logger(__name__)

    def denied(self, refresh: Refresh) -> None:
        """Stripe has no such subscription. The first time that is to be confirmed; then a row of ours is left as it is
        and set aside, and what was never ours is forgotten. Raises `LeaseLost`."""
        identifier = refresh.stripe_subscription_id
        with self._database.transaction() as tx:
            row = subscriptions.locked(tx, [identifier]).get(identifier)
            held = refreshes.hold(tx, refresh)
            if refresh.missing_for is None or refresh.missing_for < CONFIRM_AFTER:
                refreshes.doubt(tx, refresh, CONFIRM_AFTER)
                return
            if held.wanted != refresh.wanted:  # an event came meanwhile
                refreshes.postpone(tx, refresh, timedelta(), None)
                return
            if row is None:
                refreshes.clear(tx, refresh)
                events.matched(tx, identifier)
            else:
                refreshes.set_aside(tx, refresh, ASK_AGAIN)
        if row is None:
            self._log.info("refresh.dropped", stripe_subscription_id=identifier)
        elif not refresh.is_aside:
            self._log.warning("subscription.set_aside", stripe_subscription_id=identifier, user_id=row.user_id)

"""Where one process is asked for changes, and makes them: the API's work, without its HTTP."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

from worker.domain.account_changes import ChangeRefused, Wish
from worker.errors import TryLater, Unavailable
from worker.runtime.accounts import AccountWork
from worker.runtime.api_stripe import ApiStripe
from worker.runtime.outside import Outside
from worker.settings.model import Settings
from worker.store.told_changes import ToldChange
from worker.telemetry import Health, Metrics

Told: TypeAlias = ToldChange | ChangeRefused | None
"""What somebody who asks hears: the change of before, why it is refused, or None, which is that it is committed."""


class Desk:
    def __init__(self, settings: Settings, metrics: Metrics, outside: Outside) -> None:
        health, rng = Health([]), random.Random(1)
        self._stripe = ApiStripe(settings, metrics, health, rng, pool_size=3, outside=outside)
        limiter = self._stripe.resources.limiter
        limiter.allow(limiter.total, float("inf"))  # no budget is shared here
        database = self._stripe.resources.database
        self._work = AccountWork(settings, self._stripe, metrics, health, rng, database)

    def open(self) -> None:
        """Nothing is taken in before the key is known to be good."""
        self._work.dispatcher.take_turn()

    def ask(self, wish: Wish, told: Callable[[Told], None]) -> None:
        """Takes it in, and makes it, where it is leased with that."""
        try:
            told(self._work.ask(wish))
        except ChangeRefused as refused:
            told(refused)
        except (Unavailable, TryLater):
            return  # a 503, which tells nothing
        self._make_leased()

    def make_changes(self) -> None:
        """Those that are due."""
        try:
            self._work.dispatcher.take_turn()
        except (Unavailable, TryLater):
            return
        self._make_leased()

    def close(self) -> None:
        self._stripe.close()

    def _make_leased(self) -> None:
        while self._work.dispatcher.settle_next(wait=False):
            pass

"""A deployment whose poller is quick, and what takes its events."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.provisioning.conftest import NewStack, closing, new_stack  # noqa: F401 - fixtures
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.broker.reader import Reader
from worker.domain import polling
from worker.domain.event import Event
from worker.events import intake
from worker.events.envelope import Envelopes
from worker.runtime import watch
from worker.sealing import Sealer
from worker.store import event_cursor, events
from worker.store.engine.database import Database


class Consumer:
    """Reads the events' topic as its consumer does; says what it read, and records what it is told to."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        settings = stack.settings()
        self._stack = stack
        self._reader = Reader(settings.nsq, {settings.nsq.events_topic: 1}, rng=rng)
        self._envelopes = Envelopes(Sealer(settings.secret_keys()))
        self._database = Database(settings.database)

    def close(self) -> None:
        self._reader.close(timeout=1.0)
        self._database.close()

    def take(self, count: int, timeout: float = 10.0) -> list[Event]:
        """The next events, in the order in which they were published."""
        taken: list[Event] = []

        def read() -> bool:
            batch = self._reader.read(count - len(taken), 0.2)
            taken.extend(self._envelopes.open(message.body) for message in batch)
            self._reader.finish(batch)
            return len(taken) >= count

        wait_until(read, timeout, f"{count} events")
        return taken

    def takes_nothing(self, seconds: float) -> bool:
        return not self._reader.read(1, seconds)

    def record(self, *heard: Event, source: str = "poll") -> None:
        """They were processed; `source` had brought them."""
        with self._database.transaction() as tx:
            events.maintain_days(tx)
            found = [each._replace(source=source) for each in heard]
            events.record(tx, sorted(found, key=lambda each: each.id), ["recorded"] * len(found))

    def heals_gap(self) -> bool:
        """All that Stripe has was compared with all of our rows just now."""
        with self._database.transaction() as tx:
            return event_cursor.heal_gap(tx, datetime.now(UTC))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll each tenth of a second, and each third where nothing comes."""
    monkeypatch.setattr(intake, "TICK", 0.05)
    monkeypatch.setattr(polling, "SHORTEST", timedelta(seconds=0.1))
    monkeypatch.setattr(polling, "LONGEST", timedelta(seconds=0.3))
    monkeypatch.setattr(polling, "LONGEST_RETRY", timedelta(seconds=0.2))
    monkeypatch.setattr(watch, "WATCH_INTERVAL", 0.2)


@pytest.fixture
def polled(new_stack: NewStack, quick: None) -> Stack:  # noqa: F811
    """Set up, with reads without end; the poller isn't started yet."""
    stack = new_stack(SUBKEEPER_STRIPE__MONTHLY_READS="1000000000")
    stack.prepare()
    return stack


@pytest.fixture
def new_consumer(closing: ExitStack, rng: random.Random) -> Callable[[Stack], Consumer]:  # noqa: F811
    def make(stack: Stack) -> Consumer:
        consumer = Consumer(stack, rng)
        closing.callback(consumer.close)
        return consumer

    return make


@pytest.fixture
def consumer(polled: Stack, new_consumer: Callable[[Stack], Consumer]) -> Consumer:
    return new_consumer(polled)


def customer(stack: Stack, name: str = "somebody") -> dict[str, Any]:
    """A customer that somebody else makes: one event."""
    return stack.call_stripe("POST", "/v1/customers", name=name)


def cursor(stack: Stack) -> dict[str, Any]:
    return stack.rows("SELECT * FROM stripe_event_cursor")[0]

"""An nsqd that answers, and too late for many changes at once."""

from __future__ import annotations

import random
import time

import pytest

from tests.integration.relay.conftest import add_changes, unsent
from tests.support.stack import Stack
from worker.broker.publisher import Publisher
from worker.errors import Unavailable
from worker.events import relay
from worker.events.relay import Relay
from worker.store.engine.database import Database
from worker.telemetry import Health, Metrics, Watchdog

EACH = 0.01


class SlowPublisher(Publisher):
    """In place of a disk that takes so many seconds for each message."""

    def publish(self, topic: str, bodies: object, timeout: float = 10.0) -> None:
        assert isinstance(bodies, list)
        time.sleep(min(timeout, EACH * len(bodies)))
        if EACH * len(bodies) > timeout:
            raise Unavailable("nsqd", "timeout")
        super().publish(topic, bodies, timeout)


def test_it_gets_fewer_at_once_and_takes_them(
    stack: Stack, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "FIRST_RETRY", 0.01)
    add_changes(stack, 100)
    settings, health = stack.settings(), Health()
    database, publisher = Database(settings.database), SlowPublisher(settings.nsq, rng=rng)
    slow = Relay(
        database, publisher, stack.changes_topic, Metrics("test"), health, Watchdog(health), rng, statement_timeout=0.5
    )
    try:
        for _ in range(30):
            slow._turn()
            if unsent(stack) == 0:
                break
        assert unsent(stack) == 0
    finally:
        publisher.close()
        database.close()

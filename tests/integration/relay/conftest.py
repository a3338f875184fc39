"""A deployment with changes in its outbox, and somebody who listens to them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.broker.conftest import receive
from tests.integration.provisioning.conftest import closing, new_stack, quick_probes, stack
from tests.support.stack import Stack
from worker.broker.reader import Reader
from worker.events import relay

__all__ = ["closing", "new_stack", "quick_probes", "stack"]

Listen = Callable[[Stack], "Listener"]


class Listener:
    """Another service with a channel of its own on the topic of changes."""

    def __init__(self, of: Stack, rng: random.Random) -> None:
        of.nsqd.create_channel(of.changes_topic, "listener")
        settings = of.settings(SUBKEEPER_NSQ__CHANNEL="listener").nsq
        self._reader = Reader(settings, {of.changes_topic: 1}, rng=rng)

    def hear(self, count: int) -> list[dict[str, Any]]:
        """So many messages more."""
        return [json.loads(message.body) for message in receive(self._reader, count, timeout=30)]

    def hears_more(self) -> bool:
        """Within a quarter of a second."""
        return bool(self._reader.read(1, 0.25))

    def close(self) -> None:
        self._reader.close(0.2)


@pytest.fixture
def listen(rng: random.Random) -> Iterator[Listen]:
    with ExitStack() as closing:

        def begin(of: Stack) -> Listener:
            listener = Listener(of, rng)
            closing.callback(listener.close)
            return listener

        yield begin


@pytest.fixture
def quick_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay in this process sees within 0.2 s, not within 5, that nsqd is away."""
    monkeypatch.setattr(relay, "CONNECT_INTERVAL", 0.2)


def add_changes(stack: Stack, count: int, *, after: str = '{"plan": "pending"}') -> None:
    stack.rows(
        "INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, after, cause)"
        " SELECT 'user-' || n, 'sub_' || n, 1, %s::jsonb, 'created' FROM generate_series(1, %s) n",
        after,
        count,
    )


def unsent(stack: Stack) -> int:
    count: int = stack.rows("SELECT count(*) AS n FROM subscription_changes WHERE sent_at IS NULL")[0]["n"]
    return count

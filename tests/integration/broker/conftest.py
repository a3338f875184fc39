"""Readers and publishers that close themselves, impatient enough for tests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from sandbox.nsq import Nsqd
from tests.integration.broker.peer import Peer
from tests.support.waiting import BUSY
from worker.broker.publisher import Publisher
from worker.broker.reader import Reader
from worker.domain.messages import Message
from worker.settings.sections import NsqSettings

CHANNEL = "subkeeper"


def settings_for(*addresses: str, **others: Any) -> NsqSettings:
    values: dict[str, Any] = {
        "nsqd_tcp_addresses": addresses,
        "heartbeat_interval": 1.0,
        "connect_timeout": 1.0,
        "reconnect_max": 0.5,
        "lookupd_poll_interval": 0.2,
        "lookupd_timeout": 0.5,
    }
    return NsqSettings.model_validate(values | others)


class NewReader(Protocol):
    def __call__(
        self,
        settings: NsqSettings,
        *topics: str,
        weights: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Reader: ...


@pytest.fixture
def new_reader(rng: random.Random) -> Iterator[NewReader]:
    """Starts readers of these topics, of weight 1 each unless `weights` says otherwise."""
    with ExitStack() as stack:

        def start(
            settings: NsqSettings,
            *topics: str,
            weights: Mapping[str, int] | None = None,
            clock: Callable[[], float] = time.monotonic,
        ) -> Reader:
            reader = Reader(settings, dict.fromkeys(topics, 1) if weights is None else weights, rng=rng, clock=clock)
            stack.callback(reader.close, 0.2)
            return reader

        yield start


@pytest.fixture
def new_publisher(rng: random.Random) -> Iterator[Callable[[NsqSettings], Publisher]]:
    with ExitStack() as stack:

        def start(settings: NsqSettings) -> Publisher:
            publisher = Publisher(settings, rng=rng)
            stack.callback(publisher.close)
            return publisher

        yield start


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def until(condition: Callable[[], object], reader: Reader | None = None, timeout: float = 10.0) -> None:
    """Wait for the condition; a reader is served meanwhile, and hands out nothing."""
    deadline = time.monotonic() + timeout * BUSY
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        if reader is None:
            time.sleep(0.01)
        else:
            assert reader.read(0, 0.02) == []


def is_whole(reader: Reader) -> bool:
    """Whether it is connected wherever it should be."""
    return reader.links.connected == reader.links.wanted > 0


def ready(nsqd: Nsqd, topic: str) -> int:
    """The RDY of our channel's connections, as nsqd knows it."""
    return sum(client["ready_count"] for client in nsqd.channel(topic, CHANNEL)["clients"])


def receive(reader: Reader, count: int, timeout: float = 10.0, *, finish: bool = True) -> list[Message]:
    """At least `count` messages, finished at once unless told otherwise."""
    deadline = time.monotonic() + timeout * BUSY
    messages: list[Message] = []
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} messages came in time"
        batch = reader.read(count - len(messages), 0.2)
        messages += batch
        if finish:
            reader.finish(batch)
    return messages

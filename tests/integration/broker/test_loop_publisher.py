"""The publisher of an event loop: back only after nsqd's OK, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import pytest
import uvloop
from structlog.testing import capture_logs

from sandbox.nsq import Nsqd, Nsqlookupd
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import settings_for
from tests.integration.broker.peer import ERROR, RESPONSE, Peer, Session, frame
from tests.integration.broker.test_publisher import await_depth
from tests.support.waiting import wait_until
from worker.broker import loop_publisher
from worker.broker.loop_publisher import LoopPublisher
from worker.errors import Rejected, SubkeeperError, Unavailable
from worker.settings.sections import NsqSettings

Result = TypeVar("Result")


def publishing(
    settings: NsqSettings, topic: str, use: Callable[[LoopPublisher], Awaitable[Result]], *, timeout: float = 5.0
) -> tuple[Result, list[SubkeeperError | None]]:
    """What `use` returns, and what was reported of nsqd."""
    told: list[SubkeeperError | None] = []

    async def run() -> Result:
        rng = random.Random(1)
        async with LoopPublisher(settings, topic, rng=rng, timeout=timeout, report=told.append) as publisher:
            return await use(publisher)

    return uvloop.run(run()), told


async def published(publisher: LoopPublisher, body: bytes) -> None:
    """Returns after nsqd's OK; raises why there is none."""
    answer: asyncio.Future[SubkeeperError | None] = asyncio.get_running_loop().create_future()
    publisher.publish(body, answer.set_result)
    if (error := await answer) is not None:
        raise error


async def each(publisher: LoopPublisher, bodies: Iterable[bytes]) -> list[BaseException | None]:
    """All at once; of each, why it failed."""
    return await asyncio.gather(*(published(publisher, body) for body in bodies), return_exceptions=True)


def test_more_than_one_frame_takes_is_there(nsqd: Nsqd, topic: str) -> None:
    bodies = [*([b"x" * 1_000_000] * 12), *(b"%d" % number for number in range(2000))]
    found, told = publishing(settings_for(nsqd.tcp_address), topic, lambda publisher: each(publisher, bodies))
    assert found == [None] * 2012
    assert told == [None]
    await_depth(nsqd, topic, 2012)


def test_of_a_group_only_what_nsqd_refuses_fails(new_nsqd: NewNsqd, topic: str) -> None:
    nsqd = new_nsqd(flags=["--max-msg-size=1000"])
    bodies = [b"good", b"x" * 1001, b"as good"]
    settings = settings_for(nsqd.tcp_address)
    found, _ = publishing(settings, topic, lambda publisher: each(publisher, bodies))
    assert [type(error) for error in found] == [type(None), Rejected, type(None)]
    await_depth(nsqd, topic, 2)


def test_an_nsqd_that_says_nothing_is_left_for_another(new_nsqd: NewNsqd, topic: str) -> None:
    """In the time that a publication may take."""
    brokers = [new_nsqd(), new_nsqd()]
    stopped: list[Nsqd] = []

    async def use(publisher: LoopPublisher) -> None:
        await published(publisher, b"first")
        assert publisher._connection is not None
        [used] = [broker for broker in brokers if broker.tcp_port == publisher._connection.port]
        used.pause()
        stopped.append(used)
        await published(publisher, b"second")

    try:
        settings = settings_for(*(broker.tcp_address for broker in brokers))
        publishing(settings, topic, use, timeout=20)
    finally:
        for broker in stopped:
            broker.resume()
    [other] = [broker for broker in brokers if broker not in stopped]
    await_depth(other, topic, 1)


def test_who_waits_as_the_process_stops_is_told(new_nsqd: NewNsqd, topic: str) -> None:
    """Of what is under way, and of what waits behind it; and who asks only then, at once."""
    nsqd = new_nsqd()
    heard: list[SubkeeperError | None] = []

    async def use(publisher: LoopPublisher) -> LoopPublisher:
        await published(publisher, b"first")
        nsqd.pause()
        publisher.publish(b"under way", heard.append)
        await asyncio.sleep(0)  # it is sent in the loop's next turn
        await asyncio.sleep(0)
        assert publisher._flying
        publisher.publish(b"waits", heard.append)
        return publisher

    try:
        publisher, _ = publishing(settings_for(nsqd.tcp_address), topic, use, timeout=60)
    finally:
        nsqd.resume()
    assert [type(each) for each in heard] == [Unavailable, Unavailable]
    with pytest.raises(Unavailable):
        publisher.publish(b"late", heard.append)


def test_without_nsqd_whoever_waits_is_told_in_time(new_nsqd: NewNsqd, topic: str) -> None:
    nsqd = new_nsqd()
    settings = settings_for(nsqd.tcp_address)
    nsqd.stop()

    async def use(publisher: LoopPublisher) -> float:
        began = asyncio.get_running_loop().time()
        with suppress(Unavailable):
            await published(publisher, b"nobody")
            raise AssertionError
        return asyncio.get_running_loop().time() - began

    took, told = publishing(settings, topic, use)
    assert took < 10
    assert isinstance(told[0], Unavailable)


@pytest.mark.parametrize("nonsense", [frame(9, b"?"), b"\xff" * 8], ids=["type", "length"])
def test_an_nsqd_that_talks_nonsense_is_dialed_anew_at_once(
    peer: Peer, topic: str, monkeypatch: pytest.MonkeyPatch, nonsense: bytes
) -> None:
    """Its OK that came before that counts, and what has none is published again."""
    monkeypatch.setattr(loop_publisher, "ANSWER_TIMEOUT", 600.0)

    def serve() -> list[bytes | None]:
        first = peer.accept()
        first.identify()
        heard = [_heard(first)]
        first.send(frame(RESPONSE, b"OK") + nonsense)
        second = peer.accept()
        second.identify()
        heard.append(_heard(second))
        second.send(nonsense)
        third = peer.accept()
        third.identify()
        heard.append(_heard(third))
        third.send(frame(RESPONSE, b"OK"))
        return heard

    async def use(publisher: LoopPublisher) -> list[bytes | None]:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        for body in (b"first", b"second"):
            await asyncio.wait_for(published(publisher, body), 30)
        return await serving

    heard, _ = publishing(settings_for(peer.address), topic, use, timeout=60)
    assert heard == [b"first", b"second", b"second"]


def test_an_nsqd_that_takes_nothing_is_tried_ever_more_rarely(peer: Peer, topic: str) -> None:
    """It is there, and its disk is full, say."""
    sessions, is_over = 0, threading.Event()

    def end() -> None:
        time.sleep(0.01)
        if is_over.is_set():
            raise ConnectionAbortedError

    def serve() -> None:
        nonlocal sessions
        with suppress(OSError):  # nobody publishes any more
            while True:
                session = peer.accept(end)
                sessions += 1
                session.identify()
                if _heard(session):
                    session.send(frame(ERROR, b"E_PUB_FAILED disk full"))

    async def use(publisher: LoopPublisher) -> None:
        serving = asyncio.create_task(asyncio.to_thread(serve))
        with pytest.raises(Unavailable):
            await published(publisher, b"x")
        is_over.set()
        await serving

    publishing(settings_for(peer.address), topic, use, timeout=3)
    assert 2 <= sessions < 30


def _heard(session: Session) -> bytes | None:
    """The body of the next PUB; None: the connection has ended."""
    return session.body() if session.command(b"PUB") else None


def test_an_nsqd_that_is_to_be_emptied_is_left(
    new_nsqd: NewNsqd, new_nsqlookupd: Callable[[], Nsqlookupd], topic: str
) -> None:
    lookupd = new_nsqlookupd()
    brokers = {broker.tcp_port: broker for broker in (new_nsqd(lookupds=[lookupd]), new_nsqd(lookupds=[lookupd]))}
    for broker in brokers.values():
        broker.create_topic(topic)

    async def use(publisher: LoopPublisher) -> set[int]:
        used = set()
        await published(publisher, b"first")
        assert publisher._connection is not None
        first_connection, first = publisher._connection, publisher._connection.port
        used.add(first)
        await asyncio.to_thread(lookupd.http, "POST", "/topic/tombstone", topic=topic, node=brokers[first].http_address)
        await asyncio.to_thread(wait_until, lambda: publisher._connection not in {None, first_connection})
        await published(publisher, b"second")
        assert publisher._connection is not None
        return used | {publisher._connection.port}

    settings = settings_for(lookupd_http_addresses=[lookupd.http_address])
    used, _ = publishing(settings.model_copy(update={"nsqd_tcp_addresses": ()}), topic, use)
    assert used == set(brokers)


def test_whoever_fails_at_what_it_hears_keeps_the_others_from_nothing(nsqd: Nsqd, topic: str) -> None:
    def crash(_error: SubkeeperError | None) -> None:
        raise ZeroDivisionError

    async def use(publisher: LoopPublisher) -> list[BaseException | None]:
        publisher.publish(b"first", crash)
        return await each(publisher, [b"second", b"third"])

    with capture_logs() as lines:
        found, _ = publishing(settings_for(nsqd.tcp_address), topic, use)
    assert found == [None, None]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["publication.crashed"]
    await_depth(nsqd, topic, 3)

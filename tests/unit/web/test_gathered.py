"""Single reads that wait are read together, and what goes wrong is told to each who asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from worker.domain.subscription import Subscription
from worker.errors import Unavailable
from worker.web.api import gathered
from worker.web.api.gathered import Gathered

T = TypeVar("T")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Rows:
    """Postgres, which answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.let = threading.Semaphore(0)
        self.error: Exception | None = None

    def read(self, user_ids: Sequence[str]) -> list[Subscription]:
        self.asked.append(list(user_ids))
        assert self.let.acquire(timeout=60)
        if self.error is not None:
            raise self.error
        return [Subscription(f"sub_{each}", each, {}, NOW, NOW, version=1) for each in user_ids if each != "nobody"]


def run(rows: Rows, play: Callable[[Gathered], Awaitable[T]]) -> T:
    with ThreadPoolExecutor(4) as executor:

        async def played() -> T:
            return await play(Gathered(rows.read, executor))

        try:
            return asyncio.run(played())
        finally:
            rows.let.release(100)


async def asked(rows: Rows, count: int) -> None:
    while len(rows.asked) < count:  # noqa: ASYNC110 - a thread says so
        await asyncio.sleep(0.001)


def test_what_waits_is_asked_as_one_and_each_gets_its_own() -> None:
    rows = Rows()

    async def play(gathered: Gathered) -> list[Subscription | None]:
        first = [asyncio.create_task(gathered.find(each)) for each in ("a", "b")]
        await asked(rows, 1)
        second = asyncio.create_task(gathered.find("c"))
        await asked(rows, 2)
        rest = [asyncio.create_task(gathered.find(each)) for each in ("a", "nobody", "a")]
        await asyncio.sleep(0)
        rows.let.release(3)
        return await asyncio.gather(*first, second, *rest)

    found = run(rows, play)
    assert rows.asked == [["a", "b"], ["c"], ["a", "nobody"]], "the rest once one of two has been answered"
    assert [row and row.user_id for row in found] == ["a", "b", "c", "a", None, "a"]


def test_no_more_than_a_query_takes_are_asked_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "MOST", 2)
    rows = Rows()
    rows.let.release(10)

    async def play(gathered: Gathered) -> list[Subscription | None]:
        return await asyncio.gather(*(gathered.find(each) for each in "abcde"))

    assert [row and row.user_id for row in run(rows, play)] == list("abcde")
    assert rows.asked == [["a", "b"], ["c", "d"], ["e"]]


def test_what_goes_wrong_is_told_to_each_and_the_next_ones_go_on() -> None:
    rows = Rows()
    rows.let.release(2)

    async def play(gathered: Gathered) -> list[object]:
        rows.error = Unavailable("postgres", "gone")
        wrong = await asyncio.gather(gathered.find("a"), gathered.find("b"), return_exceptions=True)
        rows.error = None
        return [*map(type, wrong), await gathered.find("a") is not None]

    assert run(rows, play) == [Unavailable, Unavailable, True]


def test_whoever_leaves_keeps_nobody_from_being_answered() -> None:
    rows = Rows()

    async def play(gathered: Gathered) -> Subscription | None:
        left, stays = asyncio.create_task(gathered.find("a")), asyncio.create_task(gathered.find("a"))
        await asked(rows, 1)
        left.cancel()
        await asyncio.sleep(0)
        rows.let.release()
        return await stays

    assert run(rows, play) is not None

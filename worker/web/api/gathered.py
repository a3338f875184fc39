"""What many requests read at once is read together: while one question is under way, what else is asked for waits, and
goes as the next one.

A question costs a thread's wake-up, a connection and Postgres's answer, each of which takes longer than the rest of a
request (`bench api`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from worker.domain.subscription import Subscription

UNDER_WAY = 2
"""Questions at once: one that waits for Postgres keeps none of those that come after it."""

MOST = 200
"""Users in one."""


class Gathered:
    """The current subscriptions of single users; all of it on one event loop. `read` reads those of many, on a thread
    of `executor`, and raises `SubkeeperError`."""

    def __init__(self, read: Callable[[Sequence[str]], Sequence[Subscription]], executor: Executor) -> None:
        self._read = read
        self._executor = executor
        self._waiting: dict[str, list[asyncio.Future[Subscription | None]]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_due = False

    async def find(self, user_id: str) -> Subscription | None:
        """The user's, as it is after this was called. Raises what `read` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Subscription | None] = loop.create_future()
        self._waiting.setdefault(user_id, []).append(answer)
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._ask)  # with what else this turn of the loop brings
        return await answer

    def _ask(self) -> None:
        self._is_due = False
        while self._waiting and len(self._under_way) < UNDER_WAY:
            asked = {user_id: self._waiting.pop(user_id) for user_id in list(self._waiting)[:MOST]}
            task = asyncio.get_running_loop().create_task(self._answer(asked))
            self._under_way.add(task)
            task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._ask()

    async def _answer(self, asked: dict[str, list[asyncio.Future[Subscription | None]]]) -> None:
        try:
            rows = await asyncio.get_running_loop().run_in_executor(self._executor, self._read, list(asked))
        except Exception as error:  # noqa: BLE001 - it is for those who asked
            for answer in _open(asked):
                answer.set_exception(error)
            return
        found = {row.user_id: row for row in rows}
        for user_id, answers in asked.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(found.get(user_id))


def _open(asked: dict[str, list[asyncio.Future[Subscription | None]]]) -> list[asyncio.Future[Subscription | None]]:
    """Whoever has left is told nothing."""
    return [answer for answers in asked.values() for answer in answers if not answer.done()]

"""What many have asked to be published at once, until nsqd's answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from worker.broker.protocol import split
from worker.errors import SubkeeperError


@dataclass(slots=True, eq=False)
class Asked:
    """`alone`: nsqd has refused the frame that it was in, so it goes as one of its own. `deadline`: by the loop's
    time."""

    body: bytes
    answer: asyncio.Future[None]
    deadline: float
    alone: bool = False


class Waiting:
    """Those that are not under way, the oldest first. One event loop's."""

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()
        self.add = self._asked.append

    def __bool__(self) -> bool:
        return bool(self._asked)

    def next_group(self) -> Sequence[Asked]:
        """As many as go in one frame."""
        if self._asked[0].alone:
            return [self._asked.popleft()]
        count = len(next(split([each.body for each in self._asked if not each.alone])))
        return [self._asked.popleft() for _ in range(count)]

    def put_back(self, asked: Sequence[Asked]) -> None:
        """They come first again."""
        self._asked.extendleft(reversed(asked))

    def take_late(self, now: float) -> list[Asked]:
        """Those that have waited too long."""
        late = [each for each in self._asked if each.deadline < now]
        if late:
            kept = [each for each in self._asked if each.deadline >= now]
            self._asked.clear()
            self._asked.extend(kept)
        return late

    def take_all(self) -> list[Asked]:
        taken = list(self._asked)
        self._asked.clear()
        return taken


def each_alone(asked: Iterable[Asked]) -> list[Asked]:
    """Who is to blame for a group's refusal is told when each goes alone."""
    return [replace(each, alone=True) for each in asked]


def succeed(asked: Iterable[Asked]) -> None:
    """Whoever still waits for one of these hears that nsqd has it."""
    for each in asked:
        if not each.answer.done():
            each.answer.set_result(None)


def fail(asked: Iterable[Asked], error: SubkeeperError) -> None:
    """Whoever still waits for one of these hears of `error`."""
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(error)

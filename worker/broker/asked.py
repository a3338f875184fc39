"""What many have asked to be published at once, until nsqd's answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from worker.broker.protocol import split
from worker.errors import SubkeeperError

Then = Callable[[SubkeeperError | None], None]


@dataclass(slots=True, eq=False)
class Asked:
    """`then` hears what came of it, `deadline` is by the loop's time. `alone`: nsqd has refused the frame that it was
    in, so it goes as one of its own."""

    body: bytes
    then: Then
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


def tell(asked: Iterable[Asked], error: SubkeeperError | None) -> None:
    """Whoever waits for one of these hears that nsqd has it (None), or why not. What one of them makes of that keeps
    the others from nothing."""
    for each in asked:
        try:
            each.then(error)
        except Exception as crash:  # noqa: BLE001 - told, and theirs alone
            structlog.get_logger().error("publication.crashed", exc_info=crash)

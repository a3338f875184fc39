"""Absorbing what no lock keeps out, where a whole batch is refused for the sake of a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from worker.domain.messages import Absorbed, Message, requeued
from worker.errors import Contended


def absorb_in_halves(
    batch: Sequence[Message], absorb: Callable[[Sequence[Message]], Absorbed], is_over: Callable[[], bool]
) -> Absorbed:
    """What becomes of `batch` when each part that `absorb` refuses (`Contended`) is halved.

    A message that is refused alone is to come again, and so are those that are left once `is_over`. The largest parts
    come first: most of the batch gets in early.
    """
    absorbed = Absorbed()
    parts = deque(_halves(batch))
    while parts:
        part = parts.popleft()
        if is_over():
            absorbed.add(requeued(part))
            continue
        try:
            absorbed.add(absorb(part))
        except Contended:
            if len(part) == 1:
                absorbed.add(requeued(part))
            else:
                parts.extend(_halves(part))
    return absorbed


def _halves(batch: Sequence[Message]) -> list[Sequence[Message]]:
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]

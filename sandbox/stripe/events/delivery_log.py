"""The log of delivery attempts: bounded, newest last, for tests and for whoever looks why nothing arrived."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

_BOUND = 100_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. `time` by the sandbox's clock; `status` 0 without an answer, `problem` says why; `ms` until the
    answer; `attempt` counts from 1 (a duplicate has the number of what it repeats); `mishaps` are their kinds."""

    n: int
    time: float
    event: str
    type: str
    endpoint: str
    attempt: int
    status: int
    problem: str | None
    ms: float
    mishaps: tuple[str, ...]


class DeliveryLog:
    """The last 100,000 attempts."""

    def __init__(self) -> None:
        self._attempts: deque[Attempt] = deque(maxlen=_BOUND)
        self._count = 0

    def add(self, **what: Any) -> None:
        """An `Attempt`'s fields but its number."""
        self._count += 1
        self._attempts.append(Attempt(n=self._count, **what))

    def since(self, n: int) -> list[dict[str, Any]]:
        """Every attempt after number `n`, oldest first."""
        skipped = max(0, n - (self._count - len(self._attempts)))
        return [asdict(attempt) for place, attempt in enumerate(self._attempts) if place >= skipped]

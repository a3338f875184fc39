"""The log of requests: bounded, newest last, for tests and for the demo to subtract Stripe's time."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from sandbox.stripe.call import Call
from sandbox.stripe.forms import Form

_BOUND = 100_000


@dataclass(slots=True)
class Entry:
    """One request. `time` by the sandbox's clock; `handled_ms` from its head being read to its answer being written,
    injected latency included (None while it is open); `status` 0 if no answer was given."""

    n: int
    time: float
    method: str
    path: str
    params: Form
    idempotency_key: str | None
    user_id: str | None
    request_id: str
    status: int = 0
    replayed: bool = False
    fault: str | None = None
    handled_ms: float | None = None


class RequestLog:
    """The last 100,000 requests to the API (the control endpoint's are not logged)."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_BOUND)
        self._count = 0

    def add(self, call: Call, time: float) -> Entry:
        self._count += 1
        entry = Entry(self._count, time, call.method, call.path, call.params, call.key, call.user_id, call.request_id)
        self._entries.append(entry)
        return entry

    def since(self, n: int) -> list[dict[str, Any]]:
        """Everything after entry `n`, oldest first."""
        skipped = max(0, n - (self._count - len(self._entries)))
        return [asdict(entry) for place, entry in enumerate(self._entries) if place >= skipped]

    @property
    def count(self) -> int:
        return self._count

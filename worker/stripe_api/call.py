"""A request to Stripe and its reply, as the adapter's modules hand them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import Answer

T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """What to send. `operation` (`"customers.create"`) is the limiter's endpoint and the metrics' label."""

    operation: str
    method: str
    path: str
    params: Mapping[str, object]
    lane: Lane
    deadline: Deadline
    key: str | None = None
    sent_at: float | None = None
    """When the first attempt left (boot time): a later one may be answered with the first one's effect."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Stripe's JSON, and when it was true."""

    data: Mapping[str, object]
    seen_from: datetime
    seen_to: datetime
    replayed: bool
    request_id: str | None

    def answer(self, fact: Callable[[object], T]) -> Answer[T]:
        return Answer(fact(self.data), self.seen_from, self.seen_to, self.replayed, self.request_id)

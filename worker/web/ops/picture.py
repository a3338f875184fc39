"""What the ops page shows. Ages are in seconds, times UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Generic, NamedTuple, TypeVar

from worker.domain.budget import Claim
from worker.domain.stats import Stats
from worker.store import event_cursor, outbox, refreshes, told_changes
from worker.store.event_list import EventCounts
from worker.store.provisioning.backlog import QueueState
from worker.store.quarantine_list import Quarantined, Total
from worker.telemetry.health import Condition

Value_co = TypeVar("Value_co", covariant=True)


class Shown(NamedTuple, Generic[Value_co]):
    """What was found `at` that time; and why nothing newer could be, if so. None: nothing was found yet."""

    value: Value_co | None = None
    at: datetime | None = None
    problem: str = ""


class Profiles(NamedTuple):
    """`settled`: None, not known; `is_estimate`: by Postgres's statistics. `in_doubt`: what was refused of many alike
    while nobody passed."""

    queues: QueueState
    settled: int | None
    is_estimate: bool
    in_doubt: str | None


class Subscriptions(NamedTuple):
    stats: Stats
    trials_by_day: Mapping[date, int]


class Quarantine(NamedTuple):
    """How much there is for each reason, and the newest of it."""

    totals: Sequence[Total]
    newest: Sequence[Quarantined]


class Work(NamedTuple):
    """What waits elsewhere than in the ledger; None: could not be counted lately."""

    changes: outbox.Waiting | None
    refreshes: refreshes.Backlog | None
    account_changes: told_changes.Backlog


class Process(NamedTuple):
    """A process that may ask Stripe; `id`: how its own begins."""

    id: str
    claim: Claim


class Line(NamedTuple):
    """Something that happened to a user, as `subkeeper explain` tells it."""

    at: datetime
    what: str
    about: str | None
    details: Sequence[tuple[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """`reasons`: what only a person can mend of the process that shows this; `parts`: of its readiness. `standing`'s
    value is None before anybody has polled."""

    at: datetime
    namespace: str
    livemode: bool
    reasons: Sequence[str]
    parts: Mapping[str, Condition]
    profiles: Shown[Profiles]
    quarantine: Shown[Quarantine]
    subscriptions: Shown[Subscriptions]
    events: Shown[EventCounts]
    standing: Shown[event_cursor.Standing | None]
    processes: Shown[Sequence[Process]]
    work: Shown[Work]

    @property
    def postgres(self) -> str:
        """Why something could not be had of Postgres; "": all could."""
        every = (self.profiles, self.quarantine, self.subscriptions, self.events, self.processes, self.work)
        return next((each.problem for each in every if each.problem), "")

"""A ledger row, as its rules see it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning, State

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def row(**fields: object) -> Provisioning:
    plain = Provisioning(
        user_id="u1",
        state=State.PENDING,
        generation=1,
        plan="pending",
        trial_end=NOW + timedelta(days=31),
        lane=Lane.LIVE,
        attempts=1,
        look_first=False,
        key_possible_since=NOW,
        first_seen=NOW,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]  # each test gives fields of their own types

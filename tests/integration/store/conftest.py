"""A migrated database for each test, and leases in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from worker.domain.lanes import Lane
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.store.provisioning.insert import NewProvisioning

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
SEALED = b"\x01one!sealed"
"""A value as one key sealed it; `SEALED[:HEADER_BYTES]` is what others of that key begin with."""


@pytest.fixture
def new_database(database_url: str) -> Iterator[Callable[..., Database]]:
    """Pools on the test's database, with other settings where given."""
    opened: list[Database] = []

    def make(**settings: float) -> Database:
        values = {"url": SecretStr(database_url), "statement_timeout": 5.0, "lock_timeout": 2.0, **settings}
        database = Database(DatabaseSettings.model_validate(values))
        opened.append(database)
        return database

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def database(new_database: Callable[..., Database]) -> Database:
    return new_database()


def new_rows(
    user_ids: Sequence[str], *, lane: Lane = Lane.LIVE, leased: bool = False, request: bytes = SEALED
) -> list[NewProvisioning]:
    """Rows to absorb, in key order."""
    return [
        NewProvisioning(
            user_id,
            request,
            "pending",
            NOW + timedelta(days=31),
            lane,
            look_first=False,
            key_possible_since=NOW,
            leased=leased,
        )
        for user_id in sorted(user_ids)
    ]

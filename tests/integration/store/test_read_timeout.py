"""How long an answer of Postgres's is waited for (a server that falls silent: `tests/faults/test_network.py`)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import text

from tests.integration.store.test_errors import execute
from worker.errors import Unavailable
from worker.store.engine import database, migrations
from worker.store.engine.database import Database


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, new_database: Callable[..., Database]) -> Database:
    """Waits 0.3 s for an answer."""
    monkeypatch.setattr(database, "COMMIT_GRACE", 0.2)
    return new_database(statement_timeout=0.1)


def test_a_statement_that_the_server_does_not_break_off_is_given_up(impatient: Database) -> None:
    with pytest.raises(Unavailable):
        execute(impatient, "SET statement_timeout = 0", "SELECT pg_sleep(30)")
    impatient.ping()


def test_a_migration_waits_for_another_one_for_as_long_as_it_takes(database: Database, impatient: Database) -> None:
    with database.connection() as other:
        other.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": migrations._UPGRADE_LOCK})
        release = threading.Timer(1.0, lambda: other.execute(text("SELECT pg_advisory_unlock_all()")))
        release.start()
        with impatient.connection() as connection:
            done = migrations.upgrade(connection)
        release.join()
    assert done.before == done.after

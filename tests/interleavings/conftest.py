"""A world to play with: a database, a clock of the test's own, no logs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import text

from tests.interleavings.world import Time, World
from worker.settings import DatabaseSettings
from worker.store.engine.database import Database
from worker.telemetry import Metrics

LOCK_TIMEOUT = 0.02
"""Seconds. One thread runs at a time, so whoever waits for a lock waits for somebody who waits for him."""

SIMULATED_CLOCK = """
    CREATE SCHEMA simulated;
    CREATE TABLE simulated.clock (at timestamptz NOT NULL);
    INSERT INTO simulated.clock VALUES (pg_catalog.now());
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM simulated.clock';
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Its `now()` is the test's own. Nobody kills this server, so its commits need not wait for the disk."""
    database = Database(DatabaseSettings(url=SecretStr(database_url), pool_size=6, lock_timeout=LOCK_TIMEOUT))
    name = database_url.rpartition("/")[2]
    with database.transaction() as tx:
        tx.execute(text(SIMULATED_CLOCK))
        tx.execute(text(f'ALTER DATABASE "{name}" SET search_path = simulated, public, pg_catalog'))
        tx.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    database.close()  # its next connections know
    yield database
    database.close()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The test's own clock, for every module that would read the machine's."""
    time = Time()
    for name, module in list(sys.modules.items()):
        if name.startswith("worker.") and hasattr(module, "boot_time"):
            monkeypatch.setattr(module, "boot_time", time)
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=time))
    return time


@pytest.fixture
def new_world(database: Database, time: Time) -> Iterator[Callable[[], World]]:
    """Makes an empty world; one at a time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    metrics = Metrics("test")
    yield lambda: World(database, time, metrics)
    structlog.configure(**before)


@pytest.fixture
def world(new_world: Callable[[], World]) -> Iterator[World]:
    world = new_world()
    yield world
    world.stop()

"""A world to play with: a database whose clock is the test's own, and no logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import create_engine, text
from structlog.typing import EventDict

from tests.interleavings.process import LOCK_TIMEOUT
from tests.interleavings.world import World
from worker.settings import DatabaseSettings

SIMULATED_CLOCK = """
    CREATE SCHEMA simulated;
    CREATE TABLE simulated.clock (at timestamptz NOT NULL);
    INSERT INTO simulated.clock VALUES (pg_catalog.now());
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM simulated.clock';
"""


@pytest.fixture
def crashes() -> Iterator[list[EventDict]]:
    """What the workers log at `critical`, which is what nobody foresaw; they say nothing else."""
    before, crashes = structlog.get_config(), list[EventDict]()

    def keep(_logger: object, level: str, event: EventDict) -> EventDict:
        if level == "critical":
            crashes.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    yield crashes
    structlog.configure(**before)


@pytest.fixture
def new_world(database_url: str, crashes: list[EventDict]) -> Iterator[Callable[[], World]]:
    """Makes an empty world; one at a time. The database's `now()` is the test's own. Nobody kills this server, so its
    commits need not wait for the disk."""
    eyes = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    name = database_url.rpartition("/")[2]
    with eyes.begin() as tx:
        tx.execute(text(SIMULATED_CLOCK))
        tx.execute(text(f'ALTER DATABASE "{name}" SET search_path = simulated, public, pg_catalog'))
        tx.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    eyes.dispose()  # its next connections know
    settings = DatabaseSettings(url=SecretStr(database_url), pool_size=2, lock_timeout=LOCK_TIMEOUT)
    yield lambda: World(settings, eyes, crashes)
    eyes.dispose()


@pytest.fixture
def world(new_world: Callable[[], World]) -> Iterator[World]:
    world = new_world()
    yield world
    world.stop()

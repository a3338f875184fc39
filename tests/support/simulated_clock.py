"""A database whose `now()` is the test's own."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Engine, create_engine, text

_SCHEMA = """
    CREATE SCHEMA simulated;
    CREATE TABLE simulated.clock (at timestamptz NOT NULL);
    INSERT INTO simulated.clock VALUES (pg_catalog.now());
    CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM simulated.clock';
"""


def with_simulated_clock(database_url: str) -> Engine:
    """Puts the clock into the database, for all who connect from now on. Nobody kills the server of such a test, so its
    commits need not wait for the disk."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    name = database_url.rpartition("/")[2]
    with engine.begin() as tx:
        tx.execute(text(_SCHEMA))
        tx.execute(text(f'ALTER DATABASE "{name}" SET search_path = simulated, public, pg_catalog'))
        tx.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    engine.dispose()  # its next connections know
    return engine


def set_clock(tx: Connection, now: datetime) -> None:
    tx.execute(text("UPDATE simulated.clock SET at = :now"), {"now": now})

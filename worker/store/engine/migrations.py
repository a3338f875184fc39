"""Brings a database to this code's schema, with Alembic, which a worker at work does without (`revision`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

import schema
from schema.tables import metadata
from worker.store.engine.database import unbind
from worker.store.engine.revision import current, head, known, require_compatible

_UPGRADE_LOCK = 0x5B6B_0001
"""Advisory lock: two upgrades at once run one after the other."""

_PARTITION = re.compile(r"processed_stripe_events_\d{8}")
_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The revision before (None: an empty database) and after."""

    before: str | None
    after: str


def upgrade(connection: Connection) -> Upgraded:
    """Applies what is missing, each migration in a transaction of its own. Safe to repeat and to run twice at once.

    A newer schema that this code can work on stays as it is. Raises `Misconfigured` on one that it can't.
    """
    unbind(connection)
    for timeout in _TIMEOUTS:  # a migration takes its time, and so does waiting for another process's
        connection.execute(text(f"SET {timeout} = 0"))
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _UPGRADE_LOCK})
    connection.commit()
    try:
        return _upgrade(connection)
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _UPGRADE_LOCK})
        for timeout in _TIMEOUTS:
            connection.execute(text(f"RESET {timeout}"))
        connection.commit()


def _upgrade(connection: Connection) -> Upgraded:
    before, newest = current(connection), head()
    if before == newest:
        return Upgraded(newest, newest)
    if before is not None and before not in known():
        require_compatible(connection)
        return Upgraded(before, before)
    connection.rollback()
    command.upgrade(_config(connection), "head")
    connection.commit()
    return Upgraded(before, newest)


def differences(connection: Connection) -> list[str]:
    """What `schema/tables.py` and the database disagree on, one line each; empty when they agree."""
    options = {"compare_server_default": True, "include_name": _is_ours}
    context = MigrationContext.configure(connection, opts=options)
    return [str(difference) for difference in compare_metadata(context, metadata)]


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions come and go by themselves."""
    return kind != "table" or name is None or _PARTITION.fullmatch(name) is None


def _config(connection: Connection | None) -> Config:
    config = Config()
    assert schema.__file__ is not None
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config

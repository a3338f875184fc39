"""Brings a database to this code's schema, and says whether a database suits it.

A process refuses to start on an older schema, and on a newer one unless every revision that it does not know is marked
additive, so that a rolling deploy may migrate first (docs/design.md, *Schema*).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text

import schema
from schema.tables import metadata, schema_revisions
from worker.errors import Misconfigured
from worker.store.engine.access import require_grants
from worker.store.engine.database import unbind

_UPGRADE_LOCK = 0x5B6B_0001
"""Advisory lock: two upgrades at once run one after the other."""

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
    before = current(connection)
    if before is not None and before not in _known():
        require_compatible(connection)
        return Upgraded(before, before)
    connection.rollback()
    command.upgrade(_config(connection), "head")
    connection.commit()
    return Upgraded(before, head())


def require_compatible(connection: Connection) -> None:
    """Raises `Misconfigured` unless this code can work on the database's schema."""
    revision = current(connection)
    if revision == head():
        return
    known = _known()
    if revision is None:
        require_grants(connection)  # a schema that the role may not use looks empty
        raise Misconfigured(
            "database.url", "the database has no tables of Subkeeper's yet", "Run `subkeeper db upgrade`"
        )
    if revision in known:
        problem = f"the schema is at revision {revision}, and this Subkeeper needs {head()}"
        raise Misconfigured("database.url", problem, "Run `subkeeper db upgrade`")
    unknown = select(schema_revisions.c.revision, schema_revisions.c.additive).where(
        schema_revisions.c.revision.not_in(known)
    )
    additive = {revision: False} | {row.revision: row.additive for row in connection.execute(unknown)}
    if blocking := sorted(revision for revision, harmless in additive.items() if not harmless):
        problem = f"the schema is newer than this Subkeeper, and {', '.join(blocking)} is not additive"
        raise Misconfigured("database.url", problem, "Deploy the newer Subkeeper")


def differences(connection: Connection) -> list[str]:
    """What `schema/tables.py` and the database disagree on, one line each; empty when they agree."""
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return [str(difference) for difference in compare_metadata(context, metadata)]


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None: it has no schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return MigrationContext.configure(connection).get_current_revision()


def _known() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def head() -> str:
    """The revision that this code is made for."""
    newest = _scripts().get_current_head()
    assert newest is not None, "schema/migrations/versions is empty"
    return newest


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(None))


def _config(connection: Connection | None) -> Config:
    config = Config()
    assert schema.__file__ is not None
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config

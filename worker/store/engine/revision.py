"""Which schema a database has, and whether this code can work on it.

A process refuses to start on an older schema, and on a newer one unless every revision that it does not know is marked
additive, so that a rolling deploy may migrate first (docs/design.md, *The rules of the tables*).
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, select, text

import schema
from schema.tables import schema_revisions
from worker.errors import Misconfigured
from worker.store.engine.access import require_grants


def require_compatible(connection: Connection) -> None:
    """Raises `Misconfigured` unless this code can work on the database's schema."""
    revision = current(connection)
    if revision == head():
        return
    there = known()
    if revision is None:
        require_grants(connection)  # a schema that the role may not use looks empty
        raise Misconfigured(
            "database.url", "the database has no tables of Subkeeper's yet", "Run `subkeeper db upgrade`"
        )
    if revision in there:
        problem = f"the schema is at revision {revision}, and this Subkeeper needs {head()}"
        raise Misconfigured("database.url", problem, "Run `subkeeper db upgrade`")
    unknown = select(schema_revisions.c.revision, schema_revisions.c.additive).where(
        schema_revisions.c.revision.not_in(there)
    )
    additive = {revision: False} | {row.revision: row.additive for row in connection.execute(unknown)}
    if blocking := sorted(revision for revision, harmless in additive.items() if not harmless):
        problem = f"the schema is newer than this Subkeeper, and {', '.join(blocking)} is not additive"
        raise Misconfigured("database.url", problem, "Deploy the newer Subkeeper")


def current(connection: Connection) -> str | None:
    """The revision that the database is at; None: it has no schema."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return str(found) if found is not None else None


def head() -> str:
    """The revision that this code is made for."""
    return max(known())


def known() -> set[str]:
    """The revisions that this code has migrations to: their files' names begin with them, in order."""
    assert schema.__file__ is not None
    versions = Path(schema.__file__).parent / "migrations" / "versions"
    return {file.name.partition("_")[0] for file in versions.glob("[0-9]*_*.py")}

"""Prepared statements, where all transactions of a connection run in one session.

They spare Postgres a third of its work. Behind a pooler in transaction mode the next transaction is another session's,
which knows no statement that was prepared in this one, or knows another one by its name. Such a pooler hands its
clients a cancel key of its own (PgBouncer, Odyssey, Supavisor, PgCat): the process id in it isn't the session's.
"""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Engine, ExceptionContext, event

PREPARE_AFTER = 5
"""Executions of a statement before it is prepared (psycopg's own default)."""

_MIXED_UP = frozenset({"26000", "42P05", "08P01"})
"""A prepared statement is not there, is there already, or takes other parameters: a pooler was not noticed."""


def prepare_where_direct(engine: Engine) -> None:
    """Connections of `engine` prepare what they often execute, unless a pooler is between; after a statement that was
    mixed up, none does any more, and the pool connects anew."""
    preparing = True

    def connected(connection: psycopg.Connection[Any], _record: object) -> None:
        if preparing and _is_direct(connection):
            connection.prepare_threshold = PREPARE_AFTER

    def failed(failure: ExceptionContext) -> None:
        nonlocal preparing
        if getattr(failure.original_exception, "sqlstate", None) in _MIXED_UP:
            preparing = False
            failure.is_disconnect = True

    event.listen(engine, "connect", connected)
    event.listen(engine, "handle_error", failed)


def _is_direct(connection: psycopg.Connection[Any]) -> bool:
    """Whether the session is the process that was named when the connection was opened. One question, outside of any
    transaction."""
    connection.autocommit = True
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    return row is not None and row[0] == connection.info.backend_pid

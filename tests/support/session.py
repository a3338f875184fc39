"""Statements of a test's own on its database, which it asks again and again while it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, LiteralString, Self

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow, dict_row


class Session:
    """One connection, kept: a new one costs Postgres and us ten times what a statement does. `with` closes it. `url`
    says where to, and a new one is opened where that is elsewhere by now."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._connected_to = ""
        self._kept: Connection[DictRow] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def rows(self, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """What it returns. While another thread's statement runs it has a connection of its own."""
        if not self._lock.acquire(blocking=False):
            with self._connect() as connection:
                return _run(connection, query, parameters)
        try:
            return self._on_kept(query, parameters)
        finally:
            self._lock.release()

    def _on_kept(self, query: LiteralString, parameters: tuple[object, ...]) -> list[dict[str, Any]]:
        """A second time where Postgres has ended the session since the statement before, which shows only now."""
        if self._connected_to != self._url():
            self._close()
        if self._kept is not None:
            try:
                return _run(self._kept, query, parameters)
            except psycopg.OperationalError:
                if not self._kept.closed:
                    raise
                self._close()
        self._connected_to = self._url()
        self._kept = self._connect()
        return _run(self._kept, query, parameters)

    def _connect(self) -> Connection[DictRow]:
        """Prepares nothing: a migration may change the tables meanwhile."""
        return psycopg.connect(self._url(), autocommit=True, row_factory=dict_row, prepare_threshold=None)

    def _close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _run(connection: Connection[DictRow], query: LiteralString, parameters: tuple[object, ...]) -> list[dict[str, Any]]:
    cursor = connection.execute(query, parameters)
    return cursor.fetchall() if cursor.description else []

"""A connection that gives up on a Postgres which took a statement and then says nothing.

`statement_timeout` is the server's to keep, and TCP notices only a peer that does not acknowledge: behind a pooler or a
load balancer that still takes our bytes, a read would wait for ever, and with it the thread that absorbs.
"""

from __future__ import annotations

import time
from typing import Any, Self, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, event

from worker.settings.model import COMMIT_GRACE

Result = TypeVar("Result")

_TICK = 0.1
"""Seconds between two looks at the clock while nothing arrives (psycopg's own)."""


class PatientConnection(psycopg.Connection[Any]):
    """Closes itself, with an OperationalError, when one exchange takes longer than `patience` seconds; None: never."""

    patience: float | None = None

    def wait(self, gen: PQGen[Result], interval: float = _TICK, *rest: Any, **more: Any) -> Result:
        bounded = gen if self.patience is None else self._bounded(gen, time.monotonic() + self.patience)
        return super().wait(bounded, interval, *rest, **more)

    def _bounded(self, gen: PQGen[Result], deadline: float) -> PQGen[Result]:
        """`gen`, which is sent a falsy value for each tick without a byte."""
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError("the server fell silent")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    @classmethod
    def opened(cls, patience: float, *args: Any, **parameters: Any) -> Self:
        connection = cls.connect(*args, **parameters)
        connection.patience = patience
        return connection


def bound(engine: Engine, statement_timeout: float) -> None:
    """Every connection of `engine` gives up `COMMIT_GRACE` after the server should have broken the statement off."""

    def connect(_dialect: object, _record: object, args: Any, parameters: Any) -> PatientConnection:
        return PatientConnection.opened(statement_timeout + COMMIT_GRACE, *args, **parameters)

    event.listen(engine, "do_connect", connect)


def unbind(connection: Connection) -> None:
    """This connection waits as long as it takes from now on (a migration)."""
    raw = connection.connection.driver_connection
    if isinstance(raw, PatientConnection):
        raw.patience = None

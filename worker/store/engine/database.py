"""The connection pool, and the one way to a transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeAlias, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, exc, text

from worker.errors import Rejected
from worker.settings.model import COMMIT_GRACE
from worker.settings.sections import DatabaseSettings
from worker.store.engine.errors import translate
from worker.store.engine.prepared import prepare_where_direct
from worker.store.engine.refusals import busy, place

_SET_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', :milliseconds, true)")


Result = TypeVar("Result")

_TICK = 0.1
"""Seconds between two looks at the clock while nothing arrives (psycopg's own)."""


Transaction: TypeAlias = Connection
"""What the functions of `worker.store` write in; the caller commits it."""


class PatientConnection(psycopg.Connection[Any]):
    """Closes itself, with an OperationalError, when one exchange takes longer than `patience` seconds; None: never.

    `statement_timeout` is the server's to keep, and TCP notices only a peer that does not acknowledge: behind a pooler
    or a load balancer that still takes our bytes, a read would wait for ever, and with it the thread that absorbs.
    """

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


class Database:
    """A pool of Postgres connections. Connects lazily: nothing happens before the first transaction."""

    def __init__(self, settings: DatabaseSettings, application_name: str = "subkeeper") -> None:
        self._engine = _engine(settings, application_name)
        self._autocommitting = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._place = place(self._engine)
        self._settings = settings

    @contextmanager
    def transaction(self, lock_timeout: float | None = None) -> Iterator[Connection]:
        """Commits at the end, rolls back on an error. `lock_timeout` (seconds) in place of the configured one.

        Raises `Unavailable`, `TryLater`, `Rejected` or a `Conflict` (`worker.store.engine.errors`): what Postgres says.
        A commit whose answer is lost raises `Unavailable` though it may have happened: callers must be repeatable.
        """
        with self._translated(), self._engine.begin() as connection:
            if lock_timeout is not None:
                connection.execute(_SET_LOCK_TIMEOUT, {"milliseconds": str(round(lock_timeout * 1000))})
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection whose transactions the caller begins and ends (migrations). Raises as `transaction` does."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def question(self) -> Iterator[Connection]:
        """For a statement that only reads and stands alone: one exchange with Postgres in place of a transaction's
        three. Raises as `transaction` does."""
        with self._translated(), self._autocommitting.connect() as connection:
            yield connection

    def ping(self) -> None:
        """Raises `Unavailable` unless Postgres answers."""
        with self.transaction() as tx:
            tx.execute(text("SELECT 1"))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            raise translate(error, self._place) from error
        except UnicodeEncodeError:  # a lone surrogate; the original would quote the text around it
            raise Rejected("unstorable", "text that is not Unicode") from None
        except exc.TimeoutError as error:  # the pool's
            settings = self._settings
            raise busy(self._place, settings.pool_size, settings.connect_timeout) from error


def _engine(settings: DatabaseSettings, application_name: str) -> Engine:
    url = settings.url.get_secret_value()
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            url = "postgresql+psycopg://" + url.removeprefix(scheme)
    engine = create_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.connect_timeout,
        pool_use_lifo=True,
        pool_recycle=1800,
        hide_parameters=True,
        use_native_hstore=False,  # one question less at start
        connect_args=_connect_args(settings, application_name),
    )
    event.listen(engine, "do_connect", _patient(settings.statement_timeout + COMMIT_GRACE))
    prepare_where_direct(engine)
    event.listen(engine, "handle_error", _forget_read_only)
    return engine


def _connect_args(settings: DatabaseSettings, application_name: str) -> dict[str, object]:
    """What libpq and psycopg open a connection with."""
    timeouts = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.statement_timeout,
    }
    options = " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in timeouts.items())
    return {
        "application_name": application_name,
        "connect_timeout": max(2, round(settings.connect_timeout)),
        "options": f"{options} -c TimeZone=UTC",
        "prepare_threshold": None,  # `prepare_where_direct` decides
        # A peer that vanished without a word is noticed within the statement timeout, not after hours.
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": round(settings.statement_timeout * 1000),
    }


def _patient(patience: float) -> Callable[..., PatientConnection]:
    """How connections are made that wait so long (seconds) for an answer: after that the server should have broken the
    statement off."""

    def connect(_dialect: object, _record: object, args: Any, parameters: Any) -> PatientConnection:
        return PatientConnection.opened(patience, *args, **parameters)

    return connect


def _forget_read_only(failure: ExceptionContext) -> None:
    """A session of what is no longer the primary stays read-only after the failover: the pool connects anew."""
    if getattr(failure.original_exception, "sqlstate", None) == "25006":
        failure.is_disconnect = True


def unbind(connection: Connection) -> None:
    """This connection waits as long as it takes from now on (a migration)."""
    raw = connection.connection.driver_connection
    if isinstance(raw, PatientConnection):
        raw.patience = None

"""Where a running worker's effects pass: each commit, statement, call to Stripe, word to nsqd, publication, saved file.

Production code knows nothing of this. `install` wraps its seams in a process that was started for a fault, and tells
`passed(when, point)` before and after each. Points are named as in `points`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeAlias

import stripe
from sqlalchemy import Engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

import worker
from worker.backfill.progress import ProgressFile
from worker.broker.asked import Then
from worker.broker.connection import NsqConnection
from worker.broker.http import HttpApi
from worker.broker.loop_publisher import LoopPublisher
from worker.broker.publisher import Publisher
from worker.errors import SubkeeperError
from worker.events.walk import Walk
from worker.runtime.webhook_setup import SecretFile
from worker.stripe_api.credentials import KeyedClient
from worker.stripe_api.requestor import Call, Requestor

When: TypeAlias = Literal["before", "after"]
Passed: TypeAlias = Callable[[When, str], None]
AtStatement: TypeAlias = Callable[[When, str, int], None]
"""`when`, the statement's name, the backend's process id."""

assert worker.__file__ is not None
WORKER = Path(worker.__file__).parent
SILENT = frozenset({"RDY", "NOP", "IDENTIFY", "AUTH", "V2", "PUB", "MPUB"})
"""Words to nsqd that change nothing but the connection they are said on; publications are told by who publishes."""


def install(passed: Passed, at_statement: AtStatement) -> None:
    """Wraps every seam of this process, for good."""
    _wrap_commits(passed, at_statement)
    _wrap_statements(at_statement)
    _wrap_stripe(passed)
    _wrap_nsqd(passed)
    _wrap_publications(passed)
    _wrap(HttpApi, "post", lambda _api, path, **_: f"nsq:POST {path}", passed)
    _wrap(ProgressFile, "save", lambda *_: "file:ProgressFile.save", passed)
    _wrap(Walk, "_append", lambda *_: "file:Walk._append", passed)
    _wrap(SecretFile, "write", lambda *_: "file:SecretFile.write", passed)


def owner(code_name: str, stem: str) -> str:
    """Who does it: `Leases.complete`, or `backfill.begin` for a plain function of a module; of nested ones the outer
    one."""
    code_name = code_name.partition(".<locals>")[0]
    return code_name if "." in code_name else f"{stem}.{code_name}"


def _owner_here(below: str = "store") -> str:
    """The innermost function of the worker on the stack, outside of the package `below`: it is what began a
    transaction, or publishes."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_in_worker(frame.f_code.co_filename, below):
            return owner(frame.f_code.co_qualname, Path(frame.f_code.co_filename).stem)
        frame = frame.f_back
    return "nobody"


@cache
def _is_in_worker(filename: str, below: str) -> bool:
    file = Path(filename)
    return file.is_relative_to(WORKER) and not file.is_relative_to(WORKER / below)


def _wrap_commits(passed: Passed, at_statement: AtStatement) -> None:
    """A transaction that wrote nothing has no id yet, and passes as `read:…`."""
    commit: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit

    def do_commit(self: Any, dbapi_connection: Any) -> None:
        name, raw = _owner_here(), dbapi_connection.dbapi_connection
        wrote = raw.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()[0]
        point = f"{'commit' if wrote else 'read'}:{name}"
        passed("before", point)
        at_statement("before", f"{name} COMMIT", raw.info.backend_pid)
        commit(self, dbapi_connection)
        at_statement("after", f"{name} COMMIT", raw.info.backend_pid)
        passed("after", point)

    PGDialect_psycopg.do_commit = do_commit  # type: ignore[method-assign]  # the seam


def _wrap_statements(at_statement: AtStatement) -> None:
    def tell(when: When) -> Callable[..., None]:
        def listener(connection: Any, _cursor: object, statement: str, *_: object) -> None:
            digest = hashlib.sha256(statement.encode()).hexdigest()[:6]
            name = f"{_owner_here()} {statement.split(maxsplit=1)[0]} {digest}"
            at_statement(when, name, connection.connection.dbapi_connection.info.backend_pid)

        return listener

    event.listen(Engine, "before_cursor_execute", tell("before"))
    event.listen(Engine, "after_cursor_execute", tell("after"))


def _wrap_stripe(passed: Passed) -> None:
    request = Requestor.request

    @wraps(request)
    def wrapped(self: Requestor, client: KeyedClient, call: Call) -> stripe.StripeResponse:
        point = f"stripe:{call.operation}"
        passed("before", point)
        try:
            return request(self, client, call)
        finally:
            passed("after", point)

    Requestor.request = wrapped  # type: ignore[method-assign]  # the seam


def _wrap_nsqd(passed: Passed) -> None:
    """Commands count when their bytes leave, not when they are queued."""
    flush = NsqConnection.flush

    @wraps(flush)
    def wrapped(self: NsqConnection) -> int:
        words = sorted({frame.split(None, 1)[0].decode("ascii") for frame in self._pending if frame.strip()} - SILENT)
        for word in words:
            passed("before", f"nsq:{word}")
        sent = flush(self)
        for word in words:
            passed("after", f"nsq:{word}")
        return sent

    NsqConnection.flush = wrapped  # type: ignore[method-assign]  # the seam


def _wrap_publications(passed: Passed) -> None:
    """After it: nsqd has said OK, and whoever publishes has not heard of that."""
    _wrap(Publisher, "publish", lambda *_, **__: f"publish:{_owner_here('broker')}", passed)
    publish = LoopPublisher.publish

    @wraps(publish)
    def wrapped(self: LoopPublisher, body: bytes, then: Then) -> None:
        at = f"publish:{_owner_here('broker')}"

        def answered(error: SubkeeperError | None) -> None:
            if error is None:
                passed("after", at)
            then(error)

        passed("before", at)
        publish(self, body, answered)

    LoopPublisher.publish = wrapped  # type: ignore[method-assign]  # the seam


def _wrap(of: type[Any], name: str, point: Callable[..., str], passed: Passed) -> None:
    original = getattr(of, name)

    @wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        at = point(*arguments, **named)
        passed("before", at)
        result = original(*arguments, **named)
        passed("after", at)
        return result

    setattr(of, name, wrapped)

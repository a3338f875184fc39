"""Where changes are asked for: what is told of one that is waited for."""

from __future__ import annotations

import uuid
from concurrent.futures import Future
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import pytest

from worker.domain.account_changes import Kind, Step, Wish
from worker.store.told_changes import ToldChange
from worker.web.api.changes import Desk
from worker.web.api.operations import Begun, Reply

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LATER, DONE = Reply(HTTPStatus.ACCEPTED, b""), Reply(HTTPStatus.OK, b"done")


def told(result: dict[str, Any] | None) -> ToldChange:
    state = "pending" if result is None else "applied"
    return ToldChange(uuid.uuid4(), Kind.UPDATE, "ann", state, (Step.PLAN,), 1, result, NOW, NOW, b"")


def reply_of(change: ToldChange) -> Reply | None:
    return None if change.result is None else DONE


def begun(found: ToldChange | None, ended: Future[ToldChange]) -> Begun:
    """What is begun where nobody asked for the same before, and `found` is in the table by now."""
    desk = Desk(lambda _: None, lambda _: found, lambda _: ended)
    asked = desk.asked(Wish(uuid.uuid4(), Kind.UPDATE, "ann", "user ann"), reply_of, lambda _: LATER)
    assert isinstance(asked, Begun)
    return asked


def test_what_ends_in_this_process_is_told_without_a_look() -> None:
    ended: Future[ToldChange] = Future()
    asked = begun(None, ended)
    ended.set_result(told({"subscription": None}))
    assert asked.reply() == DONE


@pytest.mark.parametrize(("result", "reply"), [(None, None), ({"subscription": None}, DONE)])
def test_what_ends_elsewhere_is_looked_for(result: dict[str, Any] | None, reply: Reply | None) -> None:
    assert begun(told(result), Future()).reply() == reply


def test_what_is_gone_is_not_said_to_be_taken_in() -> None:
    reply = begun(None, Future()).reply()
    assert reply is not None
    assert (reply.status, dict(reply.headers)) == (HTTPStatus.SERVICE_UNAVAILABLE, {"retry-after": "1"})

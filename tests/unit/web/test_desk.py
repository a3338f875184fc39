"""Where changes are asked for: what is told of one that is waited for."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import Future
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import pytest

from worker.domain.account_changes import ChangeRefused, Kind, Wish
from worker.store.told_changes import ToldChange
from worker.web.api.changes import Desk
from worker.web.api.operations import Begun, Reply

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LATER, DONE = Reply(HTTPStatus.ACCEPTED, b""), Reply(HTTPStatus.OK, b"done")


def told(result: dict[str, Any] | None) -> ToldChange:
    state = "pending" if result is None else "applied"
    return ToldChange(uuid.uuid4(), Kind.UPDATE, "ann", state, result, NOW, NOW, b"")


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


def test_what_is_gone_with_postgres_is_asked_for_again() -> None:
    asked: list[Wish] = []
    desk = Desk(asked.append, lambda _: None, lambda _: Future())
    wish = Wish(uuid.uuid4(), Kind.UPDATE, "ann", "user ann")
    begun = desk.asked(wish, reply_of, lambda _: LATER)
    assert isinstance(begun, Begun)
    assert begun.reply() is None, "it has yet to end"
    assert asked == [wish, wish]


def test_what_is_gone_with_its_user_is_refused_as_whatever_is_asked_for_them_now() -> None:
    gone = False

    def ask(_wish: Wish) -> None:
        if gone:
            raise ChangeRefused("erased", "the user was erased")

    begun = Desk(ask, lambda _: None, lambda _: Future()).asked(
        Wish(uuid.uuid4(), Kind.UPDATE, "ann", "user ann"), reply_of, lambda _: LATER
    )
    gone = True
    assert isinstance(begun, Begun)
    reply = begun.reply()
    assert reply is not None
    assert (reply.status, json.loads(reply.body)["code"]) == (HTTPStatus.CONFLICT, "erased")

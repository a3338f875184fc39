"""A page is asked for before it is wanted, and what went wrong is told when it is."""

from __future__ import annotations

import threading

import pytest

from worker.events.ahead import Ahead


def test_it_is_asked_for_before_the_answer_is_taken() -> None:
    asked = threading.Event()

    def ask() -> str:
        asked.set()
        return "a page"

    ahead = Ahead(ask)
    assert asked.wait(60)
    assert ahead.answer() == "a page"


def test_the_answer_is_waited_for() -> None:
    release = threading.Event()

    def ask() -> str:
        release.wait(60)
        return "a page"

    ahead = Ahead(ask)
    threading.Timer(0.05, release.set).start()
    assert ahead.answer() == "a page"


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3)])
def test_what_goes_wrong_is_raised_where_the_answer_is_taken(error: BaseException) -> None:
    def ask() -> str:
        raise error

    ahead = Ahead(ask)
    with pytest.raises(type(error)) as raised:
        ahead.answer()
    assert raised.value is error

"""Answers to what we write at Stripe, beside fetches of the same subscription."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.store.test_refreshes import LEASE, lease, mark
from worker.store import answers, refreshes
from worker.store.answers import Mark
from worker.store.engine.database import Database


def watch(database: Database) -> Mark:
    with database.transaction() as tx:
        return answers.watch(tx, "sub_1", LEASE)


def answered(database: Database, watched: Mark) -> bool:
    with database.transaction() as tx:
        return answers.answered(tx, "sub_1", watched)


def due(database: Database) -> bool:
    return bool(lease(database))


def test_an_answer_that_nothing_came_in_between_is_written_and_takes_its_mark_away(database: Database) -> None:
    assert answered(database, watch(database))
    with database.transaction() as tx:
        assert refreshes.backlog(tx).waiting == 0


def test_a_fetch_that_is_under_way_is_not_written_over_the_answer(database: Database) -> None:
    """It may have been asked for before; where the answer changes no column, no version tells that it is older."""
    mark(database, "sub_1")
    fetch = lease(database)[0]
    assert answered(database, watch(database))
    with database.transaction() as tx:
        held = refreshes.hold(tx, fetch)
        assert (held.wanted, held.confirmed) == (fetch.wanted + 1, fetch.confirmed + 1)


def test_an_answer_is_not_written_over_a_fetch_that_took_the_mark_away_meanwhile(database: Database) -> None:
    """Another event has marked it since: as often wanted and confirmed as before, and yet it isn't that mark."""
    watched = watch(database)
    mark(database, "sub_1")
    fetch = lease(database)[0]
    with database.transaction() as tx:
        refreshes.clear(tx, fetch)
    mark(database, "sub_1")
    assert not answered(database, watched)
    assert due(database)


def test_nor_over_one_that_is_to_be_asked_again_a_little_later(database: Database) -> None:
    mark(database, "sub_1")
    watched = watch(database)
    fetch = lease(database)[0]
    with database.transaction() as tx:
        refreshes.postpone(tx, fetch, timedelta(seconds=4), None, fetched=True)
    assert not answered(database, watched)
    assert due(database)

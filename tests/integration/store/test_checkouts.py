"""Pages of Checkout's whose completion is heard of before the answer that opened them is committed."""

from __future__ import annotations

import uuid

from worker.domain.checkouts import CheckoutState, Mode
from worker.store import checkouts
from worker.store.checkouts import Complete, Told
from worker.store.engine.database import Database

PAGE, SESSION = uuid.UUID(int=1), "cs_1"


def completed_first(database: Database) -> None:
    """By an event that tells no mode."""
    with database.transaction() as tx:
        checkouts.insert(tx, PAGE, "ann", "pro")
        checkouts.mark(tx, [Told(PAGE, SESSION, None, CheckoutState.COMPLETE)])
        assert checkouts.complete(tx, 9) == [], "what is to be done isn't known yet"


def test_what_it_comes_to_is_done_once_the_answer_tells_the_mode(database: Database) -> None:
    completed_first(database)
    with database.transaction() as tx:
        checkouts.opened(tx, PAGE, SESSION, "setup")
        assert checkouts.complete(tx, 9) == [Complete(PAGE, "ann", "pro", Mode.SETUP, SESSION)]


def test_it_ends_with_the_change_that_could_not_open_it(database: Database) -> None:
    completed_first(database)
    with database.transaction() as tx:
        checkouts.end(tx, PAGE, CheckoutState.FAILED, "took_too_long")
        found = checkouts.find(tx, PAGE)
    assert found is not None
    assert (found.state, found.code) == (CheckoutState.FAILED, "took_too_long")

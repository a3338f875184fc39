"""What holds the cursor, and what is published again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.domain.awaited import Awaited
from worker.domain.polling import AGAIN

START = datetime(2026, 11, 15, 12, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def listed(**events: int) -> Awaited:
    awaited = Awaited()
    awaited.begin_listing()
    for event_id, second in events.items():
        awaited.listed(event_id, at(second))
        awaited.listed_to(at(second))
    return awaited


def test_the_cursor_stops_at_the_oldest_that_is_not_processed() -> None:
    awaited = listed(a=1, b=2, c=3)
    awaited.passed(["a", "c"])
    assert awaited.place(START) == at(2)
    awaited.passed(["b"])
    assert awaited.place(START) == at(3)


def test_all_of_a_second_must_be_processed_before_it_is_passed() -> None:
    awaited = listed(a=1, b=1)
    awaited.passed(["a"])
    awaited.listed_to(at(5))
    assert awaited.place(START) == at(1)


def test_one_that_appears_late_takes_the_cursor_back() -> None:
    assert listed(late=-30).place(START) == at(-30)


def test_the_cursor_stays_where_nothing_was_listed() -> None:
    assert Awaited().place(START) == START


def test_the_present_is_caught_up_with_once_nothing_is_awaited() -> None:
    awaited = listed(a=1)
    awaited.end_listing(at(9))
    assert awaited.caught_up_at is None
    awaited.passed(["a"])
    assert awaited.caught_up_at == at(9)


def test_nothing_is_published_again_within_ten_minutes() -> None:
    awaited = listed(a=1)
    assert awaited.is_due("a", 0.0)
    assert awaited.published(["a"], 0.0) == 0
    assert not awaited.is_due("a", AGAIN.total_seconds() - 1)
    assert awaited.is_due("a", AGAIN.total_seconds())
    assert awaited.published(["a"], AGAIN.total_seconds()) == 1


def test_what_stripe_no_longer_lists_is_not_waited_for() -> None:
    awaited = listed(gone=1, there=2)
    awaited.begin_listing()
    awaited.listed("there", at(2))
    assert awaited.place(START) == at(1), "as long as the listing isn't at its end"
    awaited.end_listing(at(9))
    assert awaited.place(START) == at(2)


def test_what_can_not_be_recorded_is_published_once() -> None:
    awaited = listed(a=1)
    awaited.published(["a"], 0.0)
    awaited.unrecordable(["a"])
    assert awaited.place(START) == at(1)
    assert awaited.caught_up_at is None
    assert not awaited.is_due("a", 9999.0)


def test_what_a_webhook_brought_while_it_was_published_holds_nothing() -> None:
    awaited = listed(brought=1, waits=2)
    awaited.passed(["brought"])
    assert awaited.published(["brought", "waits"], 0.0) == 0
    assert awaited.place(START) == at(2)

"""When Stripe is polled, and what of a month's reads that takes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from worker.domain.polling import LONGEST, MONTH, RESERVE, SHORTEST, Allotment, Found, Pace, month_end

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
PLENTY = Allotment(100_000_000)
NOTHING = Found(reads=1, published=0, delivered=0)
FLOW = Found(reads=1, published=3, delivered=0)
DELIVERED = Found(reads=1, published=0, delivered=3)


def after(*found: Found) -> Pace:
    pace = Pace()
    for each in found:
        pace = pace.after(each)
    return pace


def seconds(pace: Pace, allotment: Allotment = PLENTY) -> float:
    return pace.interval(allotment, NOON).total_seconds()


def test_while_events_flow_polls_are_five_seconds_apart() -> None:
    assert seconds(after(*[NOTHING] * 9, FLOW)) == SHORTEST.total_seconds() == 5


def test_without_events_the_interval_doubles_up_to_five_minutes() -> None:
    assert [seconds(after(*[NOTHING] * count)) for count in (1, 2, 3, 6, 7)] == [10, 20, 40, 300, 300]


def test_so_it_does_while_webhooks_deliver_and_every_other_poll_asks_only_for_what_they_did_not() -> None:
    pace, sweeps = Pace(), []
    for _ in range(5):
        sweeps.append(pace.sweeps_next)
        pace = pace.after(DELIVERED if not pace.sweeps_next else NOTHING)
    assert sweeps == [False, True, False, True, False]
    assert seconds(pace) == 160


@pytest.mark.parametrize("found", [FLOW, Found(reads=1, published=1, delivered=99)])
def test_webhooks_that_leave_an_event_out_deliver_no_longer(found: Found) -> None:
    """Whether a poll finds it or a sweep."""
    for pace in (after(DELIVERED, NOTHING), after(DELIVERED)):
        assert seconds(pace.after(found)) == 5
        assert not pace.after(found).after(NOTHING).sweeps_next


def test_what_fails_is_tried_again_within_a_minute() -> None:
    pace = after(*[NOTHING] * 9)
    assert seconds(pace.failed()) == 60
    assert [seconds(Pace().failed()), seconds(Pace().failed().failed())] == [10, 20]


def test_a_poll_of_several_pages_is_followed_by_a_longer_wait() -> None:
    small = Allotment(10_000)
    assert seconds(after(Found(3, 1, 0)), small) == pytest.approx(3 * seconds(after(FLOW), small))


def test_catching_up_once_says_nothing_of_what_a_poll_costs() -> None:
    assert seconds(after(Found(200, 1, 0, steady=False)), Allotment(10_000)) == seconds(Pace(), Allotment(10_000))


def test_at_ten_thousand_reads_a_month_polls_are_about_five_and_a_half_minutes_apart() -> None:
    assert 324 <= seconds(Pace(), Allotment(10_000)) <= 336


def test_refreshes_and_looks_have_their_reserve_and_more_where_they_need_more() -> None:
    assert Allotment(10_000).most == 10_000 * (1 - RESERVE)
    assert Allotment(10_000, others=2_000).most == 8_000
    assert Allotment(10_000, others=5_000).most == 5_000
    assert Allotment(10_000, others=12_000).left == 0


def test_without_reads_the_next_poll_is_next_month() -> None:
    assert NOON + Pace(cost=5).interval(Allotment(10_000, polls=8_000), NOON) == month_end(NOON)


def test_a_quiet_week_does_not_let_the_rest_of_the_month_be_spent_in_a_day() -> None:
    """Stripe counts over any 30 days, not by calendar months."""
    late = datetime(2026, 11, 29, tzinfo=UTC)
    assert Allotment(10_000).spacing(late) == MONTH / 8_000


@pytest.mark.parametrize(
    ("now", "end"), [("2026-01-31", "2026-02-01"), ("2026-12-01", "2027-01-01"), ("2028-02-29", "2028-03-01")]
)
def test_a_month_ends_where_the_next_begins(now: str, end: str) -> None:
    assert month_end(datetime.fromisoformat(f"{now}T23:59:59.999999Z")) == datetime.fromisoformat(f"{end}T00:00Z")


@pytest.mark.parametrize("drawn", range(8))
def test_ten_thousand_reads_are_not_exceeded_in_any_month(drawn: int) -> None:
    """Two months on a fake clock: pages, restarts (which forget the pace, not the count), outages and others' reads are
    drawn. The count is made before each page, as the poller makes it."""
    rng = random.Random(drawn)
    now = begin = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=rng.randrange(700))
    pace, polls, others, longest, end = Pace(), 0, 0, timedelta(0), month_end(now)
    while now < begin + 2 * MONTH:
        if now >= end:
            polls, others, end = 0, 0, month_end(now)
        others += rng.choice([0] * 20 + [3])
        allotment = Allotment(10_000, polls, others)
        before, failing = pace, pace.failed()
        pages = 60 if rng.random() < 0.001 else rng.choice([1] * 10 + [2, 3])
        made = min(pages, allotment.left)
        polls += made
        assert polls <= 8_000
        assert polls + others <= 10_000
        if made < pages or rng.random() < 0.05:
            pace = Pace() if rng.random() < 0.2 else failing
        else:
            pace = before.after(Found(made, rng.choice([0, 1]), rng.choice([0, 1]), steady=pages < 60))
        interval = pace.interval(Allotment(10_000, polls, others), now)
        longest = max(longest, interval)
        now += interval
    assert longest < timedelta(hours=6), "and no quarter of a day goes without a poll"


def test_the_longest_wait_that_a_schedule_asks_for_is_five_minutes() -> None:
    assert timedelta(minutes=5) == LONGEST

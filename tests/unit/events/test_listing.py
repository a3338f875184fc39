"""A window of events is read oldest first, whole, and in bounded memory."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from worker.domain.event import Event
from worker.domain.stripe_facts import EventPage
from worker.events import listing
from worker.events.listing import MOST_PAGES, Found, Malformed, slices
from worker.stripe_api.event_list import PAGE, EventWindow

START = datetime(2026, 11, 1, tzinfo=UTC)


def raw(number: int, second: int) -> dict[str, object]:
    return {
        "id": f"evt_{number}", "type": "customer.created", "created": int(START.timestamp()) + second,
        "livemode": False, "data": {"object": {"id": f"cus_{number}", "object": "customer"}},
    }  # fmt: skip


class Pages:
    """Stripe's list: newest first, the younger of a second before the older, cut into pages."""

    def __init__(self, seconds: Sequence[int]) -> None:
        self.times = sorted(seconds)
        self.events = [raw(number, second) for number, second in enumerate(self.times)]
        self.reads = 0
        self.held = self.most_held = 0

    def __call__(self, window: EventWindow, after: str | None) -> EventPage:
        first = bisect_left(self.times, _second(window.since))
        end = len(self.times) if window.until is None else bisect_left(self.times, _second(window.until))
        if after is not None:
            end = int(after.removeprefix("evt_"))
        page = self.events[max(first, end - PAGE) : end][::-1]
        self.reads += 1
        self.held = (0 if after is None else self.held) + len(page)
        self.most_held = max(self.most_held, self.held)
        return EventPage(list(page), str(page[-1]["id"]) if end - PAGE > first else None)


def _second(at: datetime) -> int:
    return int(at.timestamp()) - int(START.timestamp())


def ids(found: Sequence[Found]) -> list[str | None]:
    return [each.id for each in found]


def test_a_window_of_one_page_is_one_read_oldest_first() -> None:
    pages = Pages([5, 3, 3, 9])
    assert [ids(each) for each in slices(pages, START)] == [["evt_0", "evt_1", "evt_2", "evt_3"]]
    assert pages.reads == 1


def test_an_empty_window_is_one_read() -> None:
    pages = Pages([])
    assert list(slices(pages, START)) == [[]]
    assert pages.reads == 1


SHAPES = {
    "even": [second * 60 for second in range(9_000)],
    "a month's silence, then a flood": [2_500_000 + second // 50 for second in range(7_000)],
    "a flood, then silence": [second // 50 for second in range(7_000)] + [2_500_000],
    "one second alone has more than fits": [1_000] * (MOST_PAGES * PAGE + 500) + list(range(2_000, 6_000)),
    "two floods": [*[9] * 1_500, *[10] * 1_500, *range(86_400, 86_400 + 3_000)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_long_window_comes_whole_in_order_and_in_slices(name: str) -> None:
    pages = Pages(SHAPES[name])
    found = list(slices(pages, START))
    assert [each for part in found for each in ids(part)] == [each["id"] for each in pages.events]
    densest = max(SHAPES[name].count(second) for second in {SHAPES[name][0], 10, 1_000})
    assert pages.most_held <= max(MOST_PAGES * PAGE, densest)
    assert pages.reads <= 6 * len(pages.events) // PAGE


def test_any_window_comes_whole_in_order(rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_PAGES", 2)
    for _ in range(20):
        scale = rng.choice([20, 10_000, 2_000_000])
        pages = Pages([int(scale * rng.random() ** rng.choice([1, 5])) for _ in range(rng.randrange(900))])
        found = [each for part in slices(pages, START - timedelta(seconds=0.5)) for each in part]
        assert ids(found) == [each["id"] for each in pages.events]
        assert all(one.created <= other.created for one, other in pairwise(found) if one.created and other.created)


def test_what_is_no_event_of_stripes_comes_with_what_it_says_of_itself() -> None:
    def page(_window: EventWindow, _after: str | None) -> EventPage:
        created = int(START.timestamp())
        bad: list[object] = [
            raw(0, 0), "text", {"id": 5, "created": 1e400, "type": None}, {"id": "evt_\x00", "created": 10**20},
            {"id": "evt_bad", "type": "customer.created", "created": created, "livemode": False, "data": {}},
        ]  # fmt: skip
        return EventPage(bad, None)

    (found,) = slices(page, START)
    malformed = [each for each in found if isinstance(each, Malformed)]
    assert sum(isinstance(each, Event) for each in found) == 1
    assert {(each.id, each.type, each.created) for each in malformed} == {
        (None, "", None), ("evt_bad", "customer.created", START),
    }  # fmt: skip
    assert len(malformed) == 4

"""The demo's days as one sees them: a table that moves in a terminal, a line a day elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sandbox.demo.lives import MOMENTS
from sandbox.demo.verdict import Events, Percentiles, Verdict
from sandbox.demo.view import Days, verdict_table

COUNTS = {"trialing": 12_345, "active": 12_345, "past_due": 12_345, "paused": 12_345, "canceled": 12_345}


def shown(*, terminal: bool) -> str:
    file = io.StringIO()
    with Days(Console(file=file, width=80, force_terminal=terminal, color_system=None)) as days:
        for moment in MOMENTS:
            days.begin()
            for done in (False, False, True):
                days.show(moment.day, COUNTS, moment.title, "so many events", done=done)
    return file.getvalue()


def test_without_a_terminal_each_day_is_one_line_of_at_most_80_columns() -> None:
    first, *lines, last = shown(terminal=False).splitlines()
    assert first.split() == ["day", "trialing", "active", "past", "due", "paused", "canceled"]
    assert [line.split()[0] for line in lines] == [str(moment.day) for moment in MOMENTS]
    assert [line.endswith(moment.title) for line, moment in zip(lines, MOMENTS, strict=True)] == [True] * len(lines)
    assert last == "so many events"
    assert max(map(len, lines)) <= 80


def test_in_a_terminal_the_table_is_drawn_anew_and_has_room_for_its_titles() -> None:
    told = shown(terminal=True)
    assert "\x1b[" in told
    assert "…" not in told
    assert all(moment.title in told for moment in MOMENTS)


@pytest.mark.parametrize("count", [100, 9_999])
def test_what_came_of_it_has_a_line_for_each_count(count: int) -> None:
    events = Events(received=5 * count, duplicates=count, stale=0, refreshed=count, applied=count)
    took = Percentiles(123.4, 1234.5)
    verdict = Verdict(count, count, count, 0, 0, 9.9, took, took, events, changes=count, drift=0, seed=1)
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(verdict_table(verdict))
    lines = console.export_text().splitlines()
    assert len(lines) == 10
    assert f"{count} repeated, {count} applied, {count} fetched, {2 * count} as known" in lines[7]

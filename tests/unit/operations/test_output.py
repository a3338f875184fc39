"""What people read, and what they type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from worker.cli.output import age, counted, shown, since


@pytest.mark.parametrize(
    ("text", "span"),
    [("90s", timedelta(seconds=90)), ("10m", timedelta(minutes=10)), ("2h", timedelta(hours=2)), ("3d", timedelta(3))],
)
def test_a_span_of_time_is_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert age(text) == span


@pytest.mark.parametrize("text", ["", "d", "3", "-3d", "1.5h", "3w", "٣d", "999999d"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        age(text)


def test_what_a_terminal_would_obey_is_shown_and_not_sent() -> None:
    assert shown("\x1b[2J\tüñ\n\u202e") == "\\x1b[2J\\tüñ\\n\\u202e"


def test_nothing_times_and_truths_have_their_words() -> None:
    assert [shown(value) for value in (None, True, False, 0)] == ["-", "yes", "no", "0"]
    assert shown(datetime(2026, 1, 31, 10, tzinfo=UTC)) == "2026-01-31 10:00:00Z"


@pytest.mark.parametrize(
    ("ago", "words"), [(5, "5s"), (65, "1m 5s"), (3600, "1h"), (3 * 86400 + 4 * 3600 + 59, "3d 4h"), (0, "0s")]
)
def test_an_age_is_told_in_its_two_largest_units(ago: int, words: str) -> None:
    assert since(datetime.now(UTC) - timedelta(seconds=ago)) == words


def test_one_is_not_many() -> None:
    assert (counted(1, "user"), counted(2, "user"), counted(0, "user")) == ("1 user", "2 users", "0 users")

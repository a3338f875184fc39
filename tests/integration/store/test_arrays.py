"""Array literals: Postgres reads the very values that were written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from worker.errors import Rejected
from worker.store.engine import arrays
from worker.store.engine.database import Database

_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["", "NULL", "null", "{}", '"', "\\", '\\"', "a,b", " ", "\t\n", "é€😀"]
)
_OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2300, 1, 1), timezones=_OFFSETS)  # noqa: DTZ001 - bounds are naive
_QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read_back(database: Database, literal: str, kind: str) -> Any:
    with database.transaction() as tx:
        return tx.execute(text(f"SELECT CAST(:literal AS {kind}[])"), {"literal": literal}).scalar_one()


@_QUICK
@given(values=st.lists(_TEXTS | st.none(), max_size=20))
def test_texts_are_read_as_written_whatever_they_hold(database: Database, values: list[str | None]) -> None:
    assert _read_back(database, arrays.texts(values), "text") == values


@pytest.mark.parametrize("values", [["\0"], ["a", "b\0c"], ["\udfff"], [None, "\udfff"], ["\udfff", None, "\0"]])
def test_what_no_text_of_postgres_s_holds_is_refused_and_shifts_no_other(values: list[str | None]) -> None:
    with pytest.raises(Rejected, match="unstorable"):
        arrays.texts(values)


@_QUICK
@given(values=st.lists(st.binary(max_size=50), max_size=20))
def test_bytes_are_read_as_written(database: Database, values: list[bytes]) -> None:
    assert _read_back(database, arrays.byteas(values), "bytea") == values


@_QUICK
@given(values=st.lists(_TIMES, max_size=20))
def test_times_are_read_as_the_same_moments(database: Database, values: list[datetime]) -> None:
    assert _read_back(database, arrays.times(values), "timestamptz") == [each.astimezone(UTC) for each in values]


@pytest.mark.parametrize("values", [[], [0], [1, -1, 32767, -32768]])
def test_numbers_are_read_as_written(database: Database, values: list[int]) -> None:
    assert _read_back(database, arrays.numbers(values), "smallint") == values


@pytest.mark.parametrize("values", [[], [True], [False, True, False]])
def test_booleans_are_read_as_written(database: Database, values: list[bool]) -> None:
    assert _read_back(database, arrays.booleans(values), "boolean") == values

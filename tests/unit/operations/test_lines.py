"""Files of profiles, read record by record."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.backfill.records import MAX_LINE_BYTES, Format, Record, UnusableInput, read_records
from worker.domain.profile import MessageShape
from worker.errors import Rejected

SHAPE = MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at")
HEADER = b"id,email,name,created_at\n"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
rows = st.lists(st.tuples(texts.filter(bool), texts, texts), max_size=8)


def read(content: bytes, form: Format | None = None) -> list[Record]:
    return list(read_records(io.BytesIO(content), SHAPE, form))


def users(records: list[Record]) -> list[str]:
    """Their ids, or the reason where there is none."""
    return [one(record) for record in records]


def one(record: Record) -> str:
    try:
        if record.refusal:
            raise record.refusal
        assert record.message is not None
        return SHAPE.decode(record.message).user_id
    except Rejected as refusal:
        return f"!{refusal.reason}"


def test_a_line_of_ndjson_is_published_as_it_stands() -> None:
    (record,) = read(b' {"id": "u",  "more": 1} \r\n')
    assert record.message == b'{"id": "u",  "more": 1}'


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_byte_order_marks_line_ends_and_empty_lines_do_not_matter(bom: bytes, end: bytes) -> None:
    lines = [b"", b"a,a@x,A,", b"", b"   ", b'b,b@x,"B, b",']
    content = bom + end.join([HEADER.strip(), *lines])
    assert users(read(content)) == ["a", "b"]
    assert [record.number for record in read(content)] == [3, 6]
    assert users(read(bom + end.join([b"", b'{"id":"a"}', b"", b'{"id":"b"}', b""]))) == ["a", "b"]


def test_empty_lines_before_the_header_do_not_matter() -> None:
    assert users(read(b"\n\r\n" + HEADER + b"a,,,\n")) == ["a"]


@given(rows)
def test_csv_is_read_as_it_was_written_whatever_its_fields_hold(profiles: list[tuple[str, str, str]]) -> None:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("id", "email", "name"), *profiles])
    records = read(written.getvalue().encode(), Format.CSV)
    found = [SHAPE.decode(record.message or b"") for record in records]
    assert [(each.user_id, each.email or "", each.name or "") for each in found] == profiles


def test_a_record_over_several_lines_is_told_by_its_first() -> None:
    records = read(HEADER + b'a,a@x,"A\nof\nmany",\nb,,,\n')
    assert [(record.number, record.last) for record in records] == [(2, 4), (5, 5)]


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    rest = b"".join(b"u%d,e@x,N,\n" % number for number in range(5000))
    assert users(read(HEADER + b'bad,"never closed,x,\n' + rest))[:3] == ["!csv_malformed", "u0", "u1"]
    assert len(read(HEADER + b'bad,"never closed,x,\n' + rest)) == 5001


def test_bytes_that_are_not_utf8_cost_their_own_line_only() -> None:
    assert users(read(HEADER + b"a,\xff,,\nb,,,\n")) == ["!not_utf8", "b"]
    assert users(read(b'{"id":"\xff"}\n{"id":"b"}\n')) == ["!not_utf8", "b"]


def test_a_row_of_another_width_is_refused() -> None:
    assert users(read(HEADER + b"a,b\nb,,,\nc,,,,\n")) == ["!csv_columns", "b", "!csv_columns"]


def test_columns_may_stand_in_any_order_be_missing_or_more() -> None:
    (record,) = read(b"plan,NAME, user_id \nfree,Ann,u-1\n")
    assert record.message is not None
    profile = SHAPE.decode(record.message)
    assert (profile.user_id, profile.name, profile.email, profile.created_at) == ("u-1", "Ann", None, None)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("2026-01-31 10:00:00.123+00", "2026-01-31T10:00:00.123000+00:00"),
        ("2026-01-31 10:00:00+05:30", "2026-01-31T04:30:00+00:00"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00+00:00"),
    ],
)
def test_times_are_taken_as_postgres_writes_them(written: str, read_as: str) -> None:
    (record,) = read(HEADER + f"u,,,{written}\n".encode())
    created_at = SHAPE.decode(record.message or b"").created_at
    assert created_at is not None
    assert created_at.isoformat() == read_as


def test_a_time_without_an_offset_is_refused_rather_than_guessed() -> None:
    assert users(read(HEADER + b"u,,,2026-01-31 10:00:00\n")) == ["!created_at_invalid"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"name,email\nAnn,a@x.org\n", "no column id"),
        (b"id,email,email\nu,a,b\n", "twice"),
        (b"id,user_id\nu,a\n", "twice"),
        (b'[{"id":"u"}]', "JSON array"),
        ("id,email\n".encode("utf-16"), "UTF-16"),
        (b'"id,email\n', "neither JSON nor the header"),
    ],
)
def test_an_input_that_cannot_be_read_is_refused_as_a_whole(content: bytes, problem: str) -> None:
    with pytest.raises(UnusableInput, match=problem) as refusal:
        read(content)
    assert "a@x.org" not in str(refusal.value)


def test_a_csv_without_a_header_is_refused_without_repeating_its_first_profile() -> None:
    with pytest.raises(UnusableInput) as refusal:
        read(b"u-1,secret@example.org\n")
    assert "secret" not in str(refusal.value)


def test_an_endless_line_is_cut_and_refused_and_the_next_one_read() -> None:
    long = b'{"id":"' + b"x" * (3 * MAX_LINE_BYTES) + b'"}\n'
    records = read(long + b'{"id":"b"}')
    assert users(records) == ["!line_too_long", "b"]
    assert len(records[0].raw) == MAX_LINE_BYTES
    assert [record.number for record in records] == [1, 2]


def test_nothing_at_all_is_no_record() -> None:
    assert read(b"") == []
    assert read(b"\n \n") == []
    assert read(HEADER) == []


@given(st.binary(max_size=200))
def test_whatever_the_bytes_every_record_is_accepted_or_refused(content: bytes) -> None:
    try:
        records = read(HEADER + content, Format.CSV) + read(content, Format.NDJSON)
    except UnusableInput:
        return
    for record in records:
        assert record.raw
        assert one(record)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the input is empty, even of a CSV file's header"),
        (b"\n \n", "the input is empty, even of a CSV file's header"),
        (b'{"id": "u"}\n', "the input is JSON, and no CSV"),
        (b"\x1f\x8b\x08\x00", "as uncompressed UTF-8"),
    ],
)
def test_what_cannot_be_csv_is_refused_with_what_to_do(content: bytes, told: str) -> None:
    with pytest.raises(UnusableInput, match=told):
        read(content, Format.CSV)

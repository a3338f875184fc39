"""A file of profiles as records, streamed: memory does not grow with its length.

NDJSON: each line is a whole message in the configured shape, published as it stands. CSV (RFC 4180, comma, a header):
the columns `id` (or `user_id`), `email`, `name` and `created_at` are put into that shape; others are ignored. Both are
UTF-8, with or without a byte order mark, with LF or CRLF; empty lines are skipped.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, Protocol

from worker.domain.profile import MessageShape
from worker.errors import Rejected, SubkeeperError

MAX_LINE_BYTES = 2 * 1024 * 1024
"""What is beyond this of a line is dropped: no message is that long."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_POSTGRES_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d)", re.ASCII)
"""A `timestamptz` as Postgres writes it: RFC 3339 but for the minutes of its offset."""


class Format(StrEnum):
    """How a record is written."""

    NDJSON = "ndjson"
    CSV = "csv"


class UnusableInput(SubkeeperError):
    """The input as a whole can't be read."""


@dataclass(frozen=True, slots=True)
class Record:
    """One profile. It begins on line `number` and ends on line `last` (from 1); `raw` is what stands there.

    `message` is what it says, if it could be made out at all; else `refusal` says why not. Neither is validated yet.
    """

    number: int
    last: int
    raw: bytes = field(repr=False)
    message: bytes | None = field(default=None, repr=False)
    refusal: Rejected | None = None


class Records(Protocol):
    """`header`: what precedes the records. Iterated once."""

    header: bytes

    def __iter__(self) -> Iterator[Record]: ...


def read_records(stream: BinaryIO, shape: MessageShape, form: Format | None) -> Records:
    """The records of `stream` (buffered), their format told by its first character unless given.

    Raises `UnusableInput` where no record can be read, and OSError.
    """
    lines = Lines(stream)
    lines.skip_empty()
    start = lines.peek().lstrip()[:2]
    if form is Format.CSV and start[:1] == b"{":
        raise UnusableInput("the input is JSON, and no CSV: leave --format out, or give --format ndjson")
    if start in _UTF16:
        raise UnusableInput("the input is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
    if form is None:
        if start[:1] == b"[":
            raise UnusableInput("the input is a JSON array; give one object a line (jq -c '.[]')")
        form = Format.NDJSON if start[:1] in (b"{", b"") else Format.CSV
    return NdjsonRecords(lines) if form is Format.NDJSON else CsvRecords(lines, shape)


class Lines:
    """Lines of a stream with their ends, counted. `number` is the last one's that was taken."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque()
        self._begun = False
        self.number = 0

    def take(self) -> bytes:
        """The next line; empty at the end of the stream. One of more than `MAX_LINE_BYTES` is cut there."""
        line = self._waiting.popleft() if self._waiting else self._read()
        self.number += bool(line)
        return line

    def give_back(self, lines: Sequence[bytes]) -> None:
        """Lines just taken, to be taken again."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)

    def peek(self) -> bytes:
        line = self.take()
        if line:
            self.give_back([line])
        return line

    def skip_empty(self) -> None:
        while (line := self.peek()) and not line.strip():
            self.take()

    def _read(self) -> bytes:
        line = rest = self._stream.readline(MAX_LINE_BYTES)
        while _is_cut(rest):
            rest = self._stream.readline(MAX_LINE_BYTES)
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        return line


class NdjsonRecords:
    """Each line that isn't empty is a message."""

    header = b""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[Record]:
        while line := self._lines.take():
            if message := line.strip():
                yield Record(self._lines.number, self._lines.number, line, message, _too_long(line))


class CsvRecords:
    """Each row is a profile. Raises `UnusableInput` unless the header has an id, and each column once."""

    def __init__(self, lines: Lines, shape: MessageShape) -> None:
        self._lines = lines
        self._shape = shape
        self.header = lines.peek()
        if not self.header:
            raise UnusableInput("the input is empty, even of a CSV file's header: did the command before it fail?")
        names = self._names()
        self._width = len(names)
        self._columns = {column: names.index(column) for column in _COLUMNS if column in names}

    def __iter__(self) -> Iterator[Record]:
        while self._lines.peek():
            record = self._record()
            if record.raw.strip():
                yield record

    def _names(self) -> list[str]:
        """The columns' names. What is wrong is said without repeating them: they may be a first profile."""
        record, fields = self._row()
        if record.refusal is not None:
            fix = "give NDJSON, or CSV with a header, as uncompressed UTF-8"
            raise UnusableInput(f"the first line is neither JSON nor the header of a CSV file: {fix}")
        names = [_ALIASES.get(name, name) for name in (text.strip().lower() for text in fields)]
        if "id" not in names:
            fix = "begin with id,email,name,created_at, or give --format ndjson"
            raise UnusableInput(f"the first line is not a JSON object, and names no column id or user_id: {fix}")
        if any(names.count(column) > 1 for column in _COLUMNS):
            raise UnusableInput("the first line names a column twice")
        return names

    def _record(self) -> Record:
        record, fields = self._row()
        if record.refusal is not None or not record.raw.strip():
            return record
        if len(fields) != self._width:
            refusal = Rejected("csv_columns", f"{len(fields)} fields where the header has {self._width}")
            return Record(record.number, record.last, record.raw, refusal=refusal)
        found = {column: fields[place] for column, place in self._columns.items()}
        message = self._shape.encode(
            user_id=found["id"],
            email=found.get("email"),
            name=found.get("name"),
            created_at=_rfc3339(found.get("created_at")),
        )
        return Record(record.number, record.last, record.raw, message)

    def _row(self) -> tuple[Record, list[str]]:
        """The next row, which may be several lines. Of one that can't be read only the first line is given up."""
        taken: list[bytes] = []
        number = self._lines.number + 1
        fields: list[str] = []
        refusal = None
        try:
            fields = next(csv.reader(self._texts(taken), strict=True))
        except csv.Error:
            self._lines.give_back(taken[1:])
            del taken[1:]
            refusal = Rejected("csv_malformed", "its quotes or line ends are not those of CSV (RFC 4180)")
        except UnicodeDecodeError as error:
            refusal = Rejected("not_utf8", f"byte {error.start} is not UTF-8")
        return Record(number, self._lines.number, b"".join(taken), refusal=_too_long(taken[0]) or refusal), fields

    def _texts(self, taken: list[bytes]) -> Iterator[str]:
        while line := self._lines.take():
            taken.append(line)
            yield line.decode("utf-8")


_COLUMNS = ("id", "email", "name", "created_at")
_ALIASES = {"user_id": "id"}


def _is_cut(line: bytes) -> bool:
    return len(line) == MAX_LINE_BYTES and not line.endswith(b"\n")


def _too_long(line: bytes) -> Rejected | None:
    return Rejected("line_too_long", f"a line has over {MAX_LINE_BYTES} bytes") if _is_cut(line) else None


def _rfc3339(text: str | None) -> str | None:
    return f"{text}:00" if text and _POSTGRES_TIME.fullmatch(text) else text

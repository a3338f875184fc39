"""What absorbing could reach at best: nsq-py's bare loop, and bare INSERTs of the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

import nsq.reader
import psycopg
from nsq.response import Message

from bench.site import Site
from worker.broker.protocol import quiet_nsq


class Row(NamedTuple):
    """A ledger row as absorbing freezes it, its request sealed already."""

    user_id: str
    customer_request: bytes
    plan: str
    trial_end: datetime
    lane: int
    look_first: bool
    key_possible_since: datetime | None


_COLUMNS: LiteralString = "user_id, customer_request, plan, trial_end, lane, look_first, key_possible_since"
_UNNEST: LiteralString = (
    "INSERT INTO provisionings (" + _COLUMNS + ") SELECT * FROM unnest(%s::text[], %s::bytea[], %s::text[],"
    " %s::timestamptz[], %s::smallint[], %s::boolean[], %s::timestamptz[]) ON CONFLICT DO NOTHING"
)
_ONE_BY_ONE: LiteralString = (
    "INSERT INTO provisionings (" + _COLUMNS + ") VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)


def rows_of(site: Site) -> list[Row]:
    """The rows that absorbing wrote, to be written again."""
    return [Row(*row) for row in site.execute(f"SELECT {_COLUMNS} FROM provisionings ORDER BY user_id")]


def insert_unnest(url: str, rows: Sequence[Row], batch: int) -> float:
    """Rows per second, each batch one statement over arrays and one transaction."""

    def write(cursor: psycopg.Cursor, part: Sequence[Row]) -> None:
        cursor.execute(_UNNEST, [list(column) for column in zip(*part, strict=True)], prepare=True)

    return _insert(url, rows, batch, write)


def insert_many(url: str, rows: Sequence[Row], batch: int) -> float:
    """Rows per second, each batch one `executemany` (pipelined by psycopg) and one transaction."""

    def write(cursor: psycopg.Cursor, part: Sequence[Row]) -> None:
        cursor.executemany(_ONE_BY_ONE, part)

    return _insert(url, rows, batch, write)


def _insert(url: str, rows: Sequence[Row], batch: int, write: Callable[[psycopg.Cursor, Sequence[Row]], None]) -> float:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            write(cursor, rows[start : start + batch])
            connection.commit()
        return len(rows) / (time.perf_counter() - began)


def read_and_finish(site: Site, count: int) -> float:
    """Messages per second that nsq-py's own Reader reads and finishes, and does nothing else with."""
    nsq_settings = site.settings.nsq
    reader = nsq.reader.Reader(
        nsq_settings.profile_topic.encode(),
        nsq_settings.channel.encode(),
        nsqd_tcp_addresses=[site.nsqd.tcp_address],
        max_in_flight=nsq_settings.max_in_flight,
        output_buffer_timeout=25,
    )
    quiet_nsq()
    try:
        return _drain(reader, count)
    finally:
        for connection in reader.connections():  # `reader.close` closes nothing on Python 3
            connection.close()


def _drain(reader: nsq.reader.Reader, count: int) -> float:
    began, done, already = 0.0, 0, 0
    deadline = time.monotonic() + 120
    while done < count:
        for message in reader.read():
            if isinstance(message, Message):
                message.fin()
                done += 1
        if done and not already:
            already, began = done, time.perf_counter()
        if time.monotonic() > deadline:
            raise TimeoutError(f"nsq-py read {done} of {count} messages")
    for connection in reader.connections():
        connection.flush()
    return (done - already) / (time.perf_counter() - began)

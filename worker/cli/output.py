"""Tables on a terminal, tab-separated lines in a pipe, JSON on demand. What users chose themselves is made harmless."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import click
from rich.cells import cell_len

from worker.cli.tables import INDENT, lay_out
from worker.domain.text import span, utc, visible

Row = Mapping[str, object]

_WORDY = ("detail", "last error")
"""Columns of sentences, which come last."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def age(text: str) -> timedelta:
    """A span of time such as `90s`, `10m`, `2h` or `3d`, as click's type of an option."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 5:
        raise click.BadParameter(f"{text!r} is not a span of time; write 90s, 10m, 2h or 3d")
    return timedelta(**{_UNITS[unit]: int(number)})


def json_line(row: Row) -> None:
    """One object on one line of stdout; times in RFC 3339, UTC."""
    click.echo(json.dumps(row, default=_plain))


def table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """The rows' `columns` on stdout: fitted to a terminal's width, or tab-separated under a header.

    Where there are no rows that is said; on stderr where stdout is a pipe, which holds data alone.
    """
    on_a_terminal = sys.stdout.isatty()
    if not rows:
        click.echo("none", err=not on_a_terminal)
    if on_a_terminal:
        _fitted_table(rows, columns)
        return
    click.echo("\t".join(columns))
    for row in rows:
        click.echo("\t".join(shown(row.get(column)) for column in columns))


def details(row: Row) -> None:
    """One `name: value` a line on stdout; on a terminal a value that doesn't fit beside its name stands below it."""
    width = max(map(len, row), default=0) + 2
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for name, value in row.items():
        beside = f"{name + ':':<{width}}{shown(value)}"
        if room is None or cell_len(beside) <= room:
            click.echo(beside)
        else:
            click.echo(f"{name}:\n{INDENT}{shown(value)}")


def shown(value: object) -> str:
    """A value for people: times in UTC, "-" for nothing, and nothing that a terminal would obey."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return utc(value)
    return visible(("no", "yes")[value] if isinstance(value, bool) else str(value))


def since(moment: object) -> str:
    """How long ago a time was, or how soon it is: its two largest units, such as `3d 4h`."""
    assert isinstance(moment, datetime), "a time"
    return span(abs((datetime.now(UTC) - moment).total_seconds()))


def counted(count: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _plain(value: object) -> str:
    assert isinstance(value, datetime), f"JSON knows no {type(value).__name__}"
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _fitted_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    if rows:
        texts = [[shown(row.get(column)) for column in columns] for row in rows]
        for line in lay_out(columns, texts, shutil.get_terminal_size().columns, wordy=columns[-1] in _WORDY):
            click.echo(line)


def revealed(content: bytes | None) -> dict[str, object]:
    """What was sealed, as fields of a row; warns on stderr. Base64 where it is not text."""
    click.echo("subkeeper: what follows holds personal data", err=True)
    if content is None:
        return {"sealed": None}
    try:
        return {"sealed": content.decode()}
    except UnicodeDecodeError:
        return {"sealed_base64": base64.b64encode(content).decode()}

"""Tables for a terminal of any width, in which nothing that a person copies (an id, a constant) is ever broken.

As wide as there is room: sentences stand in the last column, wrapped between words; or in lines of their own below each
row; or, where not even the ids fit beside each other, each value has a line of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import click
from rich.cells import cell_len

GAP = "  "
INDENT = "    "
READABLE = 24
"""Columns that a sentence gets at least, where it is that long."""


def lay_out(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, wordy: bool) -> Iterator[str]:
    """The lines of a table of `width` columns; `wordy`: its last column holds sentences."""
    fixed = len(columns) - wordy
    widths = [max(map(cell_len, (columns[at], *(row[at] for row in rows)))) for at in range(fixed)]
    needed = sum(widths) + len(GAP) * (fixed - 1)
    if needed > width:
        yield from _one_below_the_other(columns, rows)
        return
    room = width - needed - len(GAP)
    sentences = [row[fixed] for row in rows] if wordy else []
    beside = not wordy or room >= _least_room(columns[-1], sentences)
    heading = [*columns[:fixed], *(columns[fixed:] if beside else ())]
    yield click.style(_line(heading, widths), bold=True)
    yield "─" * min(width, max(cell_len(_line(heading, widths)), needed))
    for row in rows:
        if beside:
            wrapped = _wrapped(row[fixed], room) if wordy else []
            yield _line([*row[:fixed], *wrapped[:1]], widths)
            yield from (" " * (needed + len(GAP)) + text for text in wrapped[1:])
        else:
            yield _line(row[:fixed], widths)
            yield from (INDENT + text for text in _wrapped(row[fixed], width - len(INDENT)))


def _least_room(title: str, sentences: Sequence[str]) -> int:
    longest_word = max((cell_len(word) for text in (title, *sentences) for word in text.split()), default=0)
    longest = max(map(cell_len, sentences), default=0)
    return max(longest_word, min(READABLE, longest))


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = [text + " " * (width - cell_len(text)) for text, width in zip(texts, widths, strict=False)]
    return GAP.join([*padded, *texts[len(widths) :]]).rstrip()


def timeline(entries: Sequence[tuple[Sequence[str], str]], width: int) -> Iterator[str]:
    """What happened, one after the other: a line of its own for each, and below it the sentence that it has."""
    for heading, sentence in entries:
        first, *more = _wrapped(GAP.join(heading), width)
        yield first
        yield from (INDENT + text for text in [*more, *_wrapped(sentence, width - len(INDENT))])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)


def _one_below_the_other(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        if number:
            yield ""
        for column, text in zip(columns, row, strict=True):
            yield f"{column}: {text}"

"""What Postgres can hold of a text that JSON can, and how people read it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether it holds neither a NUL nor half of a surrogate pair."""
    return "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))


def visible(text: str) -> str:
    """What can't be seen is told by its code: nothing that a terminal would obey, or that turns the text around it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def span(seconds: float) -> str:
    """Its two largest units, such as `3d 4h`; none is less than `0s`."""
    left, parts = max(0, round(seconds)), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])

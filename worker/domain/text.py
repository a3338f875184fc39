"""What Postgres can hold of a text that JSON can."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether it holds neither a NUL nor half of a surrogate pair."""
    return "\x00" not in text and (text.isascii() or not _SURROGATE.search(text))

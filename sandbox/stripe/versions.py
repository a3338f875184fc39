"""API versions: which are taken, and which shape each of them means (https://docs.stripe.com/changelog).

Modelled are the shape of `API_VERSION` and the one before 2025-03-31 (`shapes.py`). A version that is newer than
`API_VERSION` is taken up to `NEWEST`, since clients pin their own, and answered in the shape of `API_VERSION`.
"""

from __future__ import annotations

import re
from typing import Final

from sandbox.stripe.objects import API_VERSION

NEWEST: Final = "2026-10-28"
BASIL: Final = "2025-03-31"
"""From here on periods are on a subscription's items, and an invoice names its subscription under `parent`."""

_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.(acacia|basil|clover|dahlia|endive))?")


def known(version: str) -> bool:
    """Whether that is a version of the API, not newer than any that is known here."""
    match = _VERSION.fullmatch(version)
    return match is not None and match[1] <= max(NEWEST, API_VERSION[:10])


def is_old(version: str) -> bool:
    """Whether that version has the shape of before 2025-03-31."""
    return version[:10] < BASIL

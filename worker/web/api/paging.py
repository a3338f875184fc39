"""Lists that grow are told a page at a time, all in one way: `limit`, `cursor`, and `next_cursor` in the answer.

A cursor is where a page ended: a place in the list's order, whose row need not be there any more. So of what is there
all the while nothing is left out or told twice, whatever comes and goes between two pages. Callers give back what they
were given, and are refused anything else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from worker.domain.accounts import ApiError
from worker.web.api.operations import Parameter, Parameters, pointer, refuse

USUAL, MOST = 50, 200
"""Rows of a page."""

MAX_CURSOR = 2048
"""Characters: an id of 255 characters is in one."""

_LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}
PAGING = (
    Parameter("limit", "query", f"How many at most; {USUAL} if it isn't said", _LIMIT),
    Parameter(
        "cursor",
        "query",
        "The `next_cursor` of the page before",
        {"type": "string", "minLength": 1, "maxLength": MAX_CURSOR},
    ),
)
NEXT_CURSOR = "For the page after this one; null: this is the last one"

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[P]):
    """`after`: the place behind which it begins. `fetched`: how many rows to look for: one more tells that there is
    another page."""

    limit: int
    after: P

    @property
    def fetched(self) -> int:
        return self.limit + 1


@dataclass(frozen=True, slots=True)
class Places(Generic[P]):
    """The places of a list, as its cursors have them. `read` raises `ValueError` for what `tell` has never told."""

    name: str
    start: P
    tell: Callable[[P], str]
    read: Callable[[str], P]

    def page(self, given: Parameters) -> Page[P]:
        """The one that is asked for. Raises `Refused`."""
        limit, cursor = given.get("limit", (str(USUAL),))[0], given.get("cursor", (None,))[0]
        errors, after = [], self.start
        if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= MOST:
            errors.append(ApiError(pointer("query", "limit"), "out_of_range", f"is a number from 1 to {MOST}"))
        if cursor is not None:
            try:
                after = self._read(cursor)
            except ValueError:
                detail = "is no next_cursor of this list's: begin without one"
                errors.append(ApiError(pointer("query", "cursor"), "not_a_cursor", detail))
        refuse(errors)
        return Page(int(limit), after)

    def cut(self, found: Sequence[T], page: Page[P], place: Callable[[T], P]) -> tuple[Sequence[T], str | None]:
        """The page's rows, of those that were fetched for it, and the cursor of the next page."""
        rows = found[: page.limit]
        return rows, self._tell(place(rows[-1])) if len(found) > page.limit else None

    def _tell(self, place: P) -> str:
        return base64.urlsafe_b64encode(f"{self.name}:{self.tell(place)}".encode()).decode().rstrip("=")

    def _read(self, cursor: str) -> P:
        """Raises `ValueError` unless it is just as `_tell` has told it."""
        padded = cursor + "=" * (-len(cursor) % 4)
        _, _, told = base64.b64decode(padded, b"-_", validate=True).decode().partition(":")
        place = self.read(told)
        if self._tell(place) != cursor:
            raise ValueError(cursor)
        return place


def numbered(name: str, start: int) -> Places[int]:
    """A list whose places are rows' numbers, as Postgres counts them."""
    return Places(name, start, str, _number)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) >= 2**63:
        raise ValueError(text)
    return int(text)

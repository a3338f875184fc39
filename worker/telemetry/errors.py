"""An exception for the log: its types, where it was raised, and our own words. Never a library's words, never locals.

A database's error quotes the row, an HTTP client's the URL, a decoder's the document: only messages of Subkeeper's own
errors are printed, because those are written to carry no personal data.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

from worker.errors import SubkeeperError

MAX_FRAMES = 20
MAX_CAUSES = 5


def describe(error: BaseException) -> list[dict[str, Any]]:
    """The error and its causes, outermost first: `type`, `message` (of our own), `code` (of theirs), `at`.

    `at` lists `module:function:line`, innermost last, at most `MAX_FRAMES`.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain and len(chain) < MAX_CAUSES:
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return [_describe_one(each) for each in chain]


def type_name(error: BaseException) -> str:
    """`module.Class`; a builtin without its module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _describe_one(error: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type_name(error)}
    if isinstance(error, SubkeeperError):
        described["message"] = str(error)
    code = getattr(error, "sqlstate", None) or getattr(error, "errno", None)
    if isinstance(code, int | str):
        described["code"] = code
    described["at"] = _frames(error.__traceback__)
    return described


def stack_of(frame: FrameType | None) -> list[str]:
    """Where a running thread is, as `describe` tells where an error was raised."""
    return _places(reversed(list(traceback.walk_stack(frame)))) if frame is not None else []


def _frames(trace: TracebackType | None) -> list[str]:
    return _places(traceback.walk_tb(trace))


def _places(walked: Iterable[tuple[FrameType, int]]) -> list[str]:
    places = [f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}:{line}" for frame, line in walked]
    return places[-MAX_FRAMES:]

"""An id in a path: it may hold a slash, and a line's end, before which Starlette's own `path` ends."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor

ANYTHING = "anything"


class _Anything(Convertor[str]):
    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register_anything() -> None:
    """Starlette then knows it. Safe to repeat."""
    register_url_convertor(ANYTHING, _Anything())

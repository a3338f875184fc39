"""HTML in which text is text: only what was made here is markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from worker.domain.text import visible


class Html(str):
    """Markup. Any other text is escaped wherever it is put."""

    __slots__ = ()


Content = object
"""Markup, text, a number, a list of these; None for nothing."""


def html(*content: Content) -> Html:
    """All of it, one after the other. Of text, what can't be seen is shown by its code."""
    return Html("".join(_parts(content)))


def tag(name: str, /, *content: Content, **attributes: object) -> Html:
    """An element. Attributes: `class_` for class, `_` for a dash; True: without a value; None or False: left out."""
    return html(_begin(name, attributes), *content, Html(f"</{name}>"))


def void(name: str, /, **attributes: object) -> Html:
    """An element that can have no content (`meta`, `input`)."""
    return _begin(name, attributes)


def _begin(name: str, attributes: dict[str, object]) -> Html:
    given = {each.rstrip("_").replace("_", "-"): value for each, value in attributes.items()}
    told = (
        f" {each}" if value is True else f' {each}="{escape(visible(str(value)))}"'
        for each, value in given.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{''.join(told)}>")


def _parts(content: Iterable[Content]) -> Iterable[str]:
    for each in content:
        if isinstance(each, Html):
            yield each
        elif isinstance(each, (list, tuple)):
            yield from _parts(each)
        elif each is not None:
            yield escape(visible(str(each)))

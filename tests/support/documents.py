"""An HTML document as a tree, read strictly: what isn't closed as it was opened fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "link", "br", "hr", "img"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    content: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Of all that is in it, with single spaces."""
        parts = (each if isinstance(each, str) else each.text for each in self.content)
        return " ".join(" ".join(parts).split())

    def all(self, *names: str) -> Iterator[Element]:
        """Those of these names within, in their order; without names, all."""
        for each in self.content:
            if isinstance(each, Element):
                if not names or each.name in names:
                    yield each
                yield from each.all(*names)

    def by_id(self, identifier: str) -> Element:
        found = [each for each in self.all() if each.attributes.get("id") == identifier]
        assert len(found) == 1, identifier
        return found[0]

    def rows(self) -> dict[str, list[str]]:
        """Of its tables' rows that have a head, by that: the texts of the other cells."""
        found: dict[str, list[str]] = {}
        for row in self.all("tr"):
            cells = [each for each in row.content if isinstance(each, Element)]
            if cells and cells[0].attributes.get("scope") == "row":
                found[cells[0].text] = [each.text for each in cells[1:]]
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        made = Element(tag, dict(attrs))
        self._open[-1].content.append(made)
        if tag not in VOID:
            self._open.append(made)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].content.append(data)


def read(document: str) -> Element:
    reader = _Reader()
    reader.feed(document)
    reader.close()
    return reader.root

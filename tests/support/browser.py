"""A browser without JavaScript, for the pages of one host: it follows links, fills in forms by their fields' names, and
stops where it is sent elsewhere."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit


@dataclass(slots=True)
class Form:
    """`fields` by name, as they stand; `known`: the names of all; `buttons` by their words, with what each sends."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    buttons: dict[str, dict[str, str]] = field(default_factory=dict)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[str] = []
        self.texts: list[str] = []
        self.marked: dict[str, str] = {}
        self._words: list[str] = []
        self._open: list[tuple[str, dict[str, Any]]] = []
        self._select = ""
        self._unseen = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._unseen = tag in ("style", "title")
        self.ids += [given["id"]] if "id" in given else []
        if tag in ("input", "select") and given.get("type") not in ("hidden", "radio"):
            self.fields.append(given.get("id", tag))
        if tag == "form":
            self.forms.append(Form(given["action"], given.get("method", "get")))
        elif tag == "input" and self.forms:
            self.forms[-1].known.add(given["name"])
            checked = given.get("type") != "radio" or "checked" in given
            if checked:
                self.forms[-1].fields[given["name"]] = given.get("value", "")
        elif tag == "select":
            self._select = given["name"]
            self.forms[-1].known.add(given["name"])
        elif tag == "option" and ("selected" in given or self._select not in self.forms[-1].fields):
            self.forms[-1].fields[self._select] = given["value"]
        if tag in ("a", "button", "label", "title", "h1") or "role" in given:
            self._open.append((tag, given))
            self._words = []

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.texts.append(data)
        self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._unseen = False
        if not self._open or self._open[-1][0] != tag:
            return
        _, given = self._open.pop()
        words = "".join(self._words).strip()
        if tag == "a":
            self.links[words] = given["href"]
        elif tag == "button":
            sent = {given["name"]: given.get("value", "")} if "name" in given else {}
            self.forms[-1].buttons[words] = sent
        elif tag == "label" and "for" in given:
            self.labelled.add(given["for"])
        else:
            self.marked[given.get("role", tag)] = words


class Browser:
    """`url`: where it is; `status`, `title`, `alert`, `text`, `links`, `forms`: what it sees; nothing elsewhere."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._page = _Reader()

    def open(self, url: str) -> Browser:
        return self._go("GET", url, None)

    @property
    def title(self) -> str:
        return self._page.marked.get("h1", "")

    @property
    def alert(self) -> str | None:
        return self._page.marked.get("alert")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._page.texts).split())

    @property
    def links(self) -> Mapping[str, str]:
        """Addresses by words."""
        return self._page.links

    @property
    def forms(self) -> list[Form]:
        return self._page.forms

    @property
    def unclear(self) -> list[str]:
        """What a reader of screens doesn't know: fields without a label, ids that are there twice."""
        page = self._page
        return [each for each in page.fields if each not in page.labelled or page.ids.count(each) > 1]

    @property
    def buttons(self) -> list[str]:
        return [words for form in self.forms for words in form.buttons]

    def follow(self, words: str) -> Browser:
        return self._go("GET", urljoin(self.url, self.links[words]), None)

    def press(self, words: str, **fields: str) -> Browser:
        """Sends the first form that has that button, with these of its fields filled in. KeyError: it has no such."""
        form = next(form for form in self.forms if words in form.buttons)
        if unknown := set(fields) - form.known:
            raise KeyError(f"no such fields: {sorted(unknown)}")
        sent = {**form.fields, **fields, **form.buttons[words]}
        return self._go(form.method.upper(), urljoin(self.url, form.action), sent)

    def _go(self, method: str, url: str, sent: Mapping[str, str] | None) -> Browser:
        """Through redirects, as long as they stay on the host that it came from."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        body = None if sent is None else urlencode(sent)
        kind = {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request(method, target, body, kind)
            response = connection.getresponse()
            page = response.read().decode()
        finally:
            connection.close()
        self.url, self.status, self.headers = url, response.status, dict(response.getheaders())
        self._page = _Reader()
        location = self.headers.get("Location")
        if response.status == 303 and location is not None:
            target = urljoin(url, location)
            if urlsplit(target).netloc == parts.netloc:
                return self._go("GET", target, None)
            self.url = target
        self._page.feed(page)
        return self

"""Log events are API: what the code logs is what `EVENTS` lists, in both directions."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.telemetry import EVENTS

WORKER = Path(__file__).parents[3] / "worker"
LOGGER = re.compile(r"(^|[._])log(ger)?$|get_logger\([^()]*\)$")
METHODS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
STANDARD = {"exc_info"}


def _calls(path: Path, methods: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
            receiver = ast.unparse(node.func.value)
            if LOGGER.search(receiver) and not receiver.startswith("logging."):
                yield node


def _place(path: Path, call: ast.Call) -> str:
    return f"{path.relative_to(WORKER.parent)}:{call.lineno}"


def _event(call: ast.Call) -> str | None:
    """The event's name, which must be a constant; `log` takes the level first."""
    assert isinstance(call.func, ast.Attribute)
    name = call.args[call.func.attr == "log"]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None


LOGGED = [(path, call) for path in sorted(WORKER.rglob("*.py")) for call in _calls(path, METHODS)]


def test_every_event_in_the_code_is_a_constant_that_is_listed() -> None:
    assert [_place(path, call) for path, call in LOGGED if _event(call) not in EVENTS] == []


def test_every_listed_event_is_in_the_code() -> None:
    assert set(EVENTS) - {_event(call) for _, call in LOGGED} == set()


def test_an_event_is_logged_with_listed_fields_only() -> None:
    unlisted = [
        (_place(path, call), keyword.arg)
        for path, call in LOGGED
        for keyword in call.keywords
        if keyword.arg and keyword.arg not in {*EVENTS.get(_event(call) or "", ()), *STANDARD}
    ]
    assert unlisted == []


def test_every_listed_field_is_logged_somewhere() -> None:
    given: dict[str, set[str]] = defaultdict(set)
    for path, call in LOGGED:
        bound = {keyword.arg for bind in _calls(path, {"bind"}) for keyword in bind.keywords if keyword.arg}
        given[_event(call) or ""] |= {keyword.arg for keyword in call.keywords if keyword.arg} | bound
    given["library.logged"] |= {"logger", "where", "template", "left_out"}  # from a dict that is built for it
    assert {event: set(fields) - given[event] for event, fields in EVENTS.items() if set(fields) - given[event]} == {}


@pytest.mark.parametrize("event", EVENTS)
def test_a_name_is_dotted_and_no_field_is_personal(event: str) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", event)
    assert not set(EVENTS[event]) & {"email", "name", "body", "profile", "payload", "token", "password", "timestamp"}

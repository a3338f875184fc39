"""What a change of a subscription costs Postgres and Stripe: each exchange is time that somebody waits."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.integration.accounts.conftest import Accounts

THREADS = re.compile(r"(api|accounts)[-_]\d+")
"""Those that take changes in, and those that make them; what sweeps and watches beside them has other names."""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Statements and commits of this process's threads that have to do with changes, while the block runs."""
    found: Counter[str] = Counter()

    def count(what: str) -> None:
        if named := THREADS.fullmatch(threading.current_thread().name):
            found[f"{named[1]} {what}"] += 1

    def statement(*_: Any) -> None:
        count("statements")

    def commit(_: Any) -> None:
        count("commits")

    event.listen(Engine, "after_cursor_execute", statement)
    event.listen(Engine, "commit", commit)
    try:
        yield found
    finally:
        event.remove(Engine, "after_cursor_execute", statement)
        event.remove(Engine, "commit", commit)


@pytest.mark.parametrize(
    ("body", "working"),
    [
        ({"canceling": True}, {"statements": 3, "commits": 2}),
        ({"plan": "pro"}, {"statements": 3, "commits": 2}),
        ({"plan": "pro", "canceling": True}, {"statements": 7, "commits": 4}),
    ],
)
def test_a_change_costs_what_it_must(accounts: Accounts, body: dict[str, object], working: dict[str, int]) -> None:
    """One commit takes it in, one precedes each request, and one follows on each; a step asks Stripe once, after one
    look."""
    with counted() as found:
        assert accounts.change("ann", body).status == 200
    assert found == {"api statements": 4, "api commits": 1} | {f"accounts {what}": n for what, n in working.items()}
    assert len(accounts.asked("ann")) == len(body)
    looks = accounts.stack.requests("GET", f"/v1/subscriptions/{accounts.id_of('ann')}")
    assert len(looks) == 1

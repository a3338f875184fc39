"""How much a statement reads, as Postgres counts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, event


def rows_read(tx: Connection, ask: Callable[[Connection], object]) -> int:
    """The rows that the one statement which `ask` executes takes from tables and indexes, those that it then drops
    included."""
    asked: list[tuple[str, Any]] = []

    def before(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(tx, "before_cursor_execute", before)
    try:
        ask(tx)
    finally:
        event.remove(tx, "before_cursor_execute", before)
    ((statement, parameters),) = asked
    found = tx.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters).scalar_one()
    return sum(map(_taken, _nodes(found[0]["Plan"])))


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def _taken(node: Mapping[str, Any]) -> int:
    if "Relation Name" not in node:
        return 0
    dropped = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"])

"""Stripe's Search API: an index that lags behind, and its query language.

A query is clauses joined by AND (or just spaces) or by OR: `email:'x'`, `metadata['k']:'v'`, `name~'part'`,
`created>1700000000`, `-status:'canceled'`. Source: https://docs.stripe.com/search.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from sandbox.stripe.errors import invalid
from sandbox.stripe.objects import Obj

Predicate: TypeAlias = Callable[[Obj], bool]

FIELDS = {
    "customer": {"created", "email", "metadata", "name", "phone"},
    "invoice": {
        "created",
        "currency",
        "customer",
        "metadata",
        "number",
        "receipt_number",
        "status",
        "subscription",
        "total",
    },
    "price": {"active", "currency", "lookup_key", "metadata", "product", "type"},
    "product": {"active", "description", "metadata", "name", "shippable", "url"},
    "subscription": {"canceled_at", "created", "metadata", "status"},
}
_NUMERIC = {"created", "canceled_at", "total"}
_TEXTS = {"description", "email", "name", "phone"}
"""The fields that `~` looks into."""
_CLAUSE = re.compile(
    r"""\s*(?P<join>AND\b|OR\b)?\s*(?P<negated>-)?(?P<field>[a-z_]+)
        (?:\[(?P<q>["'])(?P<key>(?:\\.|(?!(?P=q)).)*)(?P=q)\])?
        (?P<operator>:|~|<=|>=|<|>|=)
        (?:(?P<q2>["'])(?P<text>(?:\\.|(?!(?P=q2)).)*)(?P=q2)|(?P<number>-?[0-9]+)|(?P<null>null))\s*""",
    re.VERBOSE | re.DOTALL,
)


class SearchIndex:
    """What searches see: each object as it last was `lag` seconds ago (of the sandbox's clock)."""

    def __init__(self) -> None:
        self.lag = 0.0
        self._pending: deque[tuple[int, Obj]] = deque()
        self._seen: dict[str, dict[str, Obj]] = {kind: {} for kind in FIELDS}

    def put(self, obj: Obj, now: int) -> None:
        self._pending.append((now, obj))

    def find(self, kind: str, query: str, now: float) -> list[Obj]:
        """What matches, newest first (400 for a query that is none)."""
        matches = parse(kind, query)
        self._catch_up(now)
        found = [obj for obj in self._seen[kind].values() if matches(obj)]
        return sorted(found, key=lambda obj: int(obj["created"]), reverse=True)

    def _catch_up(self, now: float) -> None:
        while self._pending and self._pending[0][0] + self.lag <= now:
            _, obj = self._pending.popleft()
            known = self._seen[obj["object"]]
            if obj.get("deleted"):
                known.pop(obj["id"], None)
            else:
                known[obj["id"]] = obj


def parse(kind: str, query: str) -> Predicate:
    """The predicate that `query` asks for."""
    clauses: list[Predicate] = []
    joins: set[str] = set()
    position = 0
    while position < len(query):
        match = _CLAUSE.match(query, position)
        if match is None:
            raise _unparsable(query)
        if clauses:
            joins.add(match["join"] or "AND")
        clauses.append(_clause(kind, match, query))
        position = match.end()
    if not clauses or len(clauses) > 10 or len(joins) > 1:
        raise _unparsable(query)
    combine = any if joins == {"OR"} else all
    return lambda obj: combine(clause(obj) for clause in clauses)


def _clause(kind: str, match: re.Match[str], query: str) -> Predicate:
    field, key = match["field"], match["key"]
    if field not in FIELDS[kind] or (field == "metadata") != (key is not None):
        raise invalid(f"Field `{field}` is an unsupported search field for resource `{kind}s`.", param="query")
    value = _value(match, query)
    compare = _comparison(match["operator"], value, field, query)
    negated = match["negated"] is not None
    name = _unescape(key) if key is not None else None

    def matches(obj: Obj) -> bool:
        actual = obj[field].get(name) if name is not None else _actual(obj, field)
        return compare(actual) != negated

    return matches


def _actual(obj: Obj, field: str) -> Any:
    """The field as a query compares it: an invoice's subscription is under its parent, a boolean is a word."""
    if (obj["object"], field) == ("invoice", "subscription"):
        return ((obj["parent"] or {}).get("subscription_details") or {}).get("subscription")
    return str(obj[field]).lower() if isinstance(obj[field], bool) else obj[field]


def _value(match: re.Match[str], query: str) -> str | int | None:
    if match["null"] is not None:
        return None
    if (match["field"] in _NUMERIC) != (match["number"] is not None):
        raise _unparsable(query)
    return int(match["number"]) if match["number"] is not None else _unescape(match["text"])


def _comparison(operator: str, value: str | int | None, field: str, query: str) -> Callable[[Any], bool]:
    if operator in (":", "="):
        return lambda actual: _folded(actual) == _folded(value)
    if operator == "~" and isinstance(value, str) and len(value) >= 3 and field in _TEXTS:
        return lambda actual: actual is not None and value.lower() in actual.lower()
    if operator != "~" and isinstance(value, int):
        tests: dict[str, Callable[[Any], bool]] = {
            "<": lambda actual: actual < value,
            "<=": lambda actual: actual <= value,
            ">": lambda actual: actual > value,
            ">=": lambda actual: actual >= value,
        }
        test = tests[operator]
        return lambda actual: actual is not None and test(actual)
    raise _unparsable(query)


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _unparsable(query: str) -> Exception:
    return invalid(f"We were unable to parse your search query: `{query[:200]}`.", param="query")

"""As much of PromQL as the rules use, for machines without Prometheus.

Selectors with `=` and `!=`; `absent`; `last_over_time`, `increase` and `changes` over a range; comparisons with a
number or another vector; `and`, `or`, `unless`; `on` and `ignoring`. Samples are a minute apart, and `increase` does
not extrapolate.
https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from tests.alerts.rules import minutes

Labels: TypeAlias = frozenset[tuple[str, str]]
Series: TypeAlias = tuple[str, Labels]
Scrape: TypeAlias = Mapping[Series, float]
Vector: TypeAlias = dict[Labels, float]
Evaluate: TypeAlias = Callable[[Sequence[Scrape]], Vector]
"""What an expression is worth at the end of these scrapes."""

_TOKEN = re.compile(r'\s*("[^"]*"|\d+[mhd]\b|-?\d+(?:\.\d+)?|[a-z_]\w*|==|!=|<=|>=|[<>=(){}\[\],])')
_COMPARISONS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
_OVER_TIME: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last_over_time": lambda values: values[-1],
    "changes": lambda values: sum(before != after for before, after in pairwise(values)),
    "increase": lambda values: sum(
        after - before if after >= before else after for before, after in pairwise(values)
    ),
}  # fmt: skip


def compiled(expr: str) -> Evaluate:
    """Raises `AssertionError` for what is not understood."""
    parser = _Parser(_TOKEN.findall(expr))
    assert "".join(parser.tokens) == re.sub(r"\s", "", expr), f"cannot read {expr}"
    result = parser.combination()
    assert not parser.tokens, f"left over in {expr}: {parser.tokens}"
    return result


class _Parser:
    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = list(tokens)

    def combination(self) -> Evaluate:
        left = self._comparison()
        while self.tokens and self.tokens[0] in {"and", "or", "unless"}:
            word, key = self.tokens.pop(0), self._matching()
            left = _combined(word, left, self._comparison(), key)
        return left

    def _comparison(self) -> Evaluate:
        left = self._operand()
        if not self.tokens or self.tokens[0] not in _COMPARISONS:
            return left
        holds, key = _COMPARISONS[self.tokens.pop(0)], self._matching()
        if self.tokens[0].lstrip("-")[0].isdigit():
            bound = float(self.tokens.pop(0))
            return lambda scrapes: {labels: value for labels, value in left(scrapes).items() if holds(value, bound)}
        return _compared(holds, left, self._operand(), key)

    def _matching(self) -> Callable[[Labels], Labels]:
        """What two vectors' series have in common: all labels, unless `on` or `ignoring` follows."""
        if not self.tokens or self.tokens[0] not in {"on", "ignoring"}:
            return lambda labels: labels
        on = self.tokens.pop(0) == "on"
        names = set(self._until("(", ")")) - {","}
        return lambda labels: frozenset(each for each in labels if (each[0] in names) is on)

    def _operand(self) -> Evaluate:
        name = self.tokens.pop(0)
        if self.tokens[:1] != ["("]:
            return _instant(self._selector(name))
        self.tokens.pop(0)
        select = self._selector(self.tokens.pop(0))
        if name == "absent":
            result = _absent(select)
        else:
            over, (length,) = _OVER_TIME[name], self._until("[", "]")
            result = _over(over, select, minutes(length))
        assert self.tokens.pop(0) == ")"
        return result

    def _selector(self, name: str) -> Callable[[Series], bool]:
        matchers: list[tuple[str, bool, str]] = []
        if self.tokens[:1] == ["{"]:
            label, relation, value = self._until("{", "}")
            matchers.append((label, relation == "=", value.strip('"')))

        def select(series: Series) -> bool:
            labels = dict(series[1])
            return series[0] == name and all((labels.get(label) == value) is equal for label, equal, value in matchers)

        return select

    def _until(self, opening: str, closing: str) -> list[str]:
        assert self.tokens.pop(0) == opening
        end = self.tokens.index(closing)
        inside, self.tokens = self.tokens[:end], self.tokens[end + 1 :]
        return inside


def _instant(select: Callable[[Series], bool]) -> Evaluate:
    return lambda scrapes: {series[1]: value for series, value in scrapes[-1].items() if select(series)}


def _absent(select: Callable[[Series], bool]) -> Evaluate:
    return lambda scrapes: {} if any(map(select, scrapes[-1])) else {frozenset(): 1.0}


def _over(function: Callable[[Sequence[float]], float], select: Callable[[Series], bool], length: int) -> Evaluate:
    def evaluate(scrapes: Sequence[Scrape]) -> Vector:
        window = scrapes[-length - 1 :]
        found = {series: None for scrape in window for series in scrape if select(series)}
        return {series[1]: function([scrape[series] for scrape in window if series in scrape]) for series in found}

    return evaluate


def _compared(
    holds: Callable[[float, float], bool], left: Evaluate, right: Evaluate, key: Callable[[Labels], Labels]
) -> Evaluate:
    def evaluate(scrapes: Sequence[Scrape]) -> Vector:
        others = {key(labels): value for labels, value in right(scrapes).items()}
        pairs = [(key(labels), value) for labels, value in left(scrapes).items() if key(labels) in others]
        return {labels: value for labels, value in pairs if holds(value, others[labels])}

    return evaluate


def _combined(word: str, left: Evaluate, right: Evaluate, key: Callable[[Labels], Labels]) -> Evaluate:
    def evaluate(scrapes: Sequence[Scrape]) -> Vector:
        ours, theirs = left(scrapes), right(scrapes)
        if word == "or":
            known = {key(labels) for labels in ours}
            return ours | {labels: value for labels, value in theirs.items() if key(labels) not in known}
        others = {key(labels) for labels in theirs}
        return {labels: value for labels, value in ours.items() if (key(labels) in others) is (word == "and")}

    return evaluate

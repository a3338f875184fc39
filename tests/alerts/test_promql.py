"""The evaluator, which stands in for Prometheus."""

from __future__ import annotations

import pytest

from tests.alerts.promql import Scrape, compiled
from tests.alerts.rules import read_rules


def scrape(**values: float) -> Scrape:
    """Metrics by name, each with one series, `{part="a"}`."""
    return {(name, frozenset({("part", "a")})): value for name, value in values.items()}


@pytest.mark.parametrize(
    ("expr", "scrapes", "holds"),
    [
        ("up == 0", [scrape(up=0)], True),
        ("up == 0", [scrape(up=1)], False),
        ("up == 0", [scrape()], False),
        ('up{part="a"} == 0', [scrape(up=0)], True),
        ('up{part!="a"} == 0', [scrape(up=0)], False),
        ('up{part!="b"} == 0', [scrape(up=0)], True),
        ("absent(up)", [scrape(up=0), scrape()], True),
        ("absent(up)", [scrape(up=0)], False),
        ("last_over_time(age[2m]) > 5", [scrape(age=9), scrape(), scrape()], True),
        ("last_over_time(age[2m]) > 5", [scrape(age=9), scrape(), scrape(), scrape()], False),
        ("last_over_time(age[2m]) > 5", [scrape(age=9), scrape(age=0)], False),
        ("increase(seen[5m]) > 0", [scrape(seen=0), scrape(seen=1)], True),
        ("increase(seen[5m]) > 0", [scrape(), scrape(seen=1)], False),
        ("increase(seen[5m]) > 1", [scrape(seen=7), scrape(seen=2)], True),
        ("increase(seen[1m]) > 0", [scrape(seen=0), scrape(seen=1), scrape(seen=1)], False),
        ("changes(start[5m]) > 1", [scrape(start=1), scrape(start=2), scrape(start=3)], True),
        ("is < wanted", [scrape(**{"is": 1, "wanted": 2})], True),
        ("is < on (part) wanted", [scrape(**{"is": 2, "wanted": 2})], False),
        ("up == 0 and on (part) age > 1", [scrape(up=0, age=2)], True),
        ("up == 0 and on (part) age > 1", [scrape(up=0, age=0)], False),
        ("up == 0 unless age > 1", [scrape(up=0, age=2)], False),
        ("up == 0 or age > 1", [scrape(up=1, age=2)], True),
        ("skew < -60", [scrape(skew=-61)], True),
        ("skew > 60 or skew < -60", [scrape(skew=-59)], False),
    ],
)
def test_an_expression(expr: str, scrapes: list[Scrape], holds: bool) -> None:
    assert bool(compiled(expr)(scrapes)) is holds


def test_series_are_matched_without_the_labels_that_are_ignored() -> None:
    states = {"connected": 1.0, "wanted": 2.0}
    links = {("links", frozenset({("state", state), ("instance", "i")})): count for state, count in states.items()}
    expr = compiled('links{state="connected"} < ignoring (state) links{state="wanted"}')
    assert expr([links]) == {frozenset({("instance", "i")}): 1.0}


@pytest.mark.parametrize("expr", ["sum(up) == 0", "up == ", 'up{part=~"a"} == 0', "up == 0 or", "rate(up[5m]) > 0"])
def test_what_it_does_not_know_is_an_error(expr: str) -> None:
    with pytest.raises((AssertionError, IndexError, KeyError, ValueError)):
        compiled(expr)


def test_it_knows_every_rule() -> None:
    for rule in read_rules():
        compiled(rule.expr)

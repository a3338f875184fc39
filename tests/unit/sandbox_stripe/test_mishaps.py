"""Which deliveries go wrong: the same ones for the same seed, as often as asked."""

from __future__ import annotations

import pytest

from sandbox.stripe.events.mishaps import Mishaps, parse_mishap
from sandbox.stripe.objects import Obj


def _event(kind: str = "invoice.paid", about: str = "in_1") -> Obj:
    return {"type": kind, "data": {"object": {"id": about}}}


def _drawn(seed: str, count: int = 400) -> list[tuple[str, ...]]:
    mishaps = Mishaps(seed)
    mishaps.rules = [
        parse_mishap({"mishap": {"kind": "duplicate"}, "probability": 0.25}),
        parse_mishap({"mishap": {"kind": "delay", "low": 10, "high": 20}, "probability": 0.5}),
    ]
    return [mishaps.draw(_event(), "we_1").names for _ in range(count)]


def test_chance_is_the_seeds() -> None:
    assert _drawn("a") == _drawn("a") != _drawn("b")
    assert 60 < sum("duplicate" in names for names in _drawn("a")) < 140


@pytest.mark.parametrize(
    ("match", "times"),
    [
        ({}, 3),
        ({"type": "invoice.*"}, 2),
        ({"type": "invoice.paid"}, 1),
        ({"object": "in_2"}, 1),
        ({"endpoint": "we_9"}, 0),
    ],
)
def test_a_rule_meets_what_it_names(match: dict[str, str], times: int) -> None:
    mishaps = Mishaps("a")
    mishaps.rules = [parse_mishap({"match": match, "mishap": {"kind": "drop"}})]
    events = [_event(), _event("invoice.voided", "in_2"), _event("customer.created", "cus_1")]
    assert sum(mishaps.draw(event, "we_1").drop is not None for event in events) == times


def test_a_rule_ends_after_its_times_and_kinds_come_together() -> None:
    mishaps = Mishaps("a")
    mishaps.rules = [
        parse_mishap({"mishap": {"kind": "duplicate", "copies": 4, "ms": 30}, "times": 1}),
        parse_mishap({"mishap": {"kind": "delay", "ms": 50}}),
    ]
    first, second = (mishaps.draw(_event(), "we_1") for _ in range(2))
    assert (first.copies, first.gap, first.delay) == (4, 0.03, 0.05)
    assert (second.copies, second.delay, second.drop, second.hold) == (1, 0.05, None, None)

"""What turns bad is an error, once; what turns well is said at info."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.errors import Misconfigured, TryLater, Unavailable
from worker.telemetry import Health, Metrics
from worker.telemetry.health import STARTING

Lines = Callable[[], list[dict[str, Any]]]
REFUSED = Misconfigured("STRIPE_SECRET_KEY", "is refused", "Give another.")


def _said(lines: Lines) -> list[tuple[str, str, bool]]:
    return [(line["level"], line["part"], line["ok"]) for line in lines()]


def test_an_outage_is_said_once_whatever_its_details(lines: Lines) -> None:
    health = Health(["postgres"])
    for number in range(5):
        health.away("postgres", Unavailable("postgres", f"attempt {number}"))
    assert _said(lines) == [("error", "postgres", False)]
    health.set("postgres", ok=True)
    health.set("postgres", ok=True)
    health.away("postgres", Unavailable("postgres", "gone again"))
    assert _said(lines)[1:] == [("info", "postgres", True), ("error", "postgres", False)]


def test_another_trouble_with_the_same_part_is_said_too(lines: Lines) -> None:
    health = Health(["stripe"])
    health.away("stripe", TryLater("stripe_unreachable"))
    health.away("stripe", REFUSED)
    health.away("stripe", REFUSED)
    assert _said(lines) == [("error", "stripe", False)] * 2
    assert health.reasons() == [f"stripe: {REFUSED}"]


def test_starting_is_no_trouble(lines: Lines) -> None:
    health = Health(["nsqd"])
    health.set("nsqd", ok=False, detail="0 of 2 connections")
    assert _said(lines) == []
    health.set("nsqd", ok=True)
    health.set("nsqd", ok=False, detail="0 of 2 connections")
    assert _said(lines) == [("info", "nsqd", True), ("error", "nsqd", False)]


def test_what_has_not_come_up_after_a_while_is_an_error_once(lines: Lines) -> None:
    now = 100.0
    health = Health(["nsqd"], clock=lambda: now)
    for now in (100.0, 109.9, 110.1, 300.0):
        health.set("nsqd", ok=False, detail="0 of 2 connections")
        assert len(lines()) == (now > 110), now
    assert _said(lines) == [("error", "nsqd", False)]


def test_who_has_not_come_up_after_a_while_is_not_starting_any_more() -> None:
    now = 100.0
    health = Health(["accounts"], clock=lambda: now)
    assert health.parts()["accounts"].kind == STARTING
    now = 110.0
    assert (health.parts()["accounts"].ok, health.parts()["accounts"].kind) == (False, "")


def test_trouble_belongs_to_the_dependency_that_it_names() -> None:
    health = Health(["postgres", "stripe"])
    health.set("stripe", ok=True)
    health.away("stripe", Unavailable("postgres", "refused"))
    assert {part: state.ok for part, state in health.parts().items()} == {"postgres": False, "stripe": True}


def test_a_part_that_is_asked_in_vain_for_a_minute_is_not_well_until_it_answers(lines: Lines) -> None:
    now = [0.0]
    health = Health(["stripe"], clock=lambda: now[0])
    metrics = Metrics("test", health)
    health.set("stripe", ok=True)
    for moment, outcome, ready in (
        (10, "unclear", True),
        (50, "ok", True),
        (60, "unclear", True),
        (119, "unclear", True),
        (120, "unclear", False),
        (600, "unclear", False),
        (601, "throttled", True),
    ):
        now[0] = moment
        metrics.stripe_call("customers.create", outcome, 1.0)
        assert health.is_ready() == ready, moment
    assert _said(lines) == [("info", "stripe", True), ("error", "stripe", False), ("info", "stripe", True)]


def test_an_answer_mends_no_other_trouble_of_a_part() -> None:
    now = [0.0]
    health = Health(["stripe"], clock=lambda: now[0])
    health.away("stripe", REFUSED)
    for moment in (0, 100, 200):
        now[0] = moment
        health.unanswered("stripe")
    health.answered("stripe")
    assert health.reasons() == [f"stripe: {REFUSED}"]

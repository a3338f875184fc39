"""The list of points is the code's, and every point has its kill."""

from __future__ import annotations

from tests.faults.points import NOT_ASKED_YET, POINTS, READS, found_in_the_code, methods_called
from tests.faults.scenarios import SCENARIOS


def test_every_side_effect_in_the_code_is_a_point() -> None:
    assert found_in_the_code() == POINTS | {f"commit:{name}" for name in READS} | NOT_ASKED_YET.keys()


def test_what_is_not_asked_yet_is_not_asked() -> None:
    assert not methods_called("gateway") & set(NOT_ASKED_YET.values())


def test_every_point_is_killed_at_in_some_scenario() -> None:
    assert {kill.point for scenario in SCENARIOS.values() for kill in scenario.kills} == POINTS

"""The list of points is the code's, and every point has its kill."""

from __future__ import annotations

from tests.faults.points import NOT_ASKED_YET, POINTS, READS, found_in_the_code, methods_called
from tests.faults.scenarios import SCENARIOS

KILLS = [kill for scenario in SCENARIOS.values() for kill in scenario.kills]


def test_every_side_effect_in_the_code_is_a_point() -> None:
    assert found_in_the_code().keys() == POINTS | {f"commit:{name}" for name in READS} | NOT_ASKED_YET.keys()


def test_what_is_not_asked_yet_is_not_asked() -> None:
    assert not methods_called("gateway") & set(NOT_ASKED_YET.values())


def test_every_point_is_killed_at_in_some_scenario() -> None:
    assert {kill.point for kill in KILLS} == POINTS


def test_where_a_function_has_several_transactions_each_is_killed_at() -> None:
    several = {point: count for point, count in found_in_the_code().items() if count > 1 and point in POINTS}
    wanted = {(point, nth) for point, count in several.items() for nth in range(1, count + 1) if "commit:" in point}
    assert wanted, "there are such functions"
    assert wanted <= {(kill.point, kill.nth) for kill in KILLS}

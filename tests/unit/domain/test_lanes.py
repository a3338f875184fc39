"""Who is served next: by weight, nobody starved, floors kept, nothing idle that could be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.lanes import Lane, LaneSchedule
from worker.domain.shares import Turns

WEIGHTS = {Lane.LIVE: 80, Lane.RETRY: 15, Lane.BACKFILL: 5}
lane_sets = st.sets(st.sampled_from(Lane), min_size=1)


def serve(schedule: LaneSchedule, waiting: Collection[Lane], times: int) -> Counter[Lane]:
    """Who is served when each is done at once."""
    served: Counter[Lane] = Counter()
    for _ in range(times):
        lane = schedule.next(waiting, {})
        assert lane is not None
        served[lane] += 1
    return served


def test_lanes_share_by_their_weights() -> None:
    served = serve(LaneSchedule(16, WEIGHTS), list(Lane), 1000)
    for lane, weight in WEIGHTS.items():
        assert served[lane] == pytest.approx(10 * weight, abs=2)


@given(st.fixed_dictionaries({lane: st.integers(1, 100) for lane in Lane}), st.integers(0, 500))
def test_a_lane_that_always_waits_is_never_further_behind_its_share_than_a_turn_of_each(
    weights: dict[Lane, int], times: int
) -> None:
    served = serve(LaneSchedule(16, weights), list(Lane), times)
    for lane, weight in weights.items():
        assert abs(served[lane] - times * weight / sum(weights.values())) <= len(weights)


@given(lane_sets)
def test_an_idle_lanes_share_goes_to_the_others(waiting: set[Lane]) -> None:
    served = serve(LaneSchedule(16, WEIGHTS), waiting, 600)
    assert set(served) == waiting
    total = sum(WEIGHTS[lane] for lane in waiting)
    assert all(abs(served[lane] - 600 * WEIGHTS[lane] / total) <= 3 for lane in waiting)


def test_a_lane_that_was_idle_is_owed_nothing() -> None:
    schedule = LaneSchedule(16, WEIGHTS)
    serve(schedule, [Lane.LIVE], 10_000)
    assert serve(schedule, list(Lane), 100)[Lane.LIVE] >= 78


def test_a_lane_that_held_all_it_may_is_owed_nothing_for_that_time() -> None:
    schedule = LaneSchedule(16, WEIGHTS)
    full = {Lane.RETRY: schedule.most(Lane.RETRY)}
    for _ in range(10_000):
        assert schedule.next([Lane.LIVE, Lane.RETRY], full) is Lane.LIVE
    assert serve(schedule, list(Lane), 100)[Lane.LIVE] >= 78


@given(st.integers(1, 200), lane_sets, st.data())
def test_a_seat_is_given_whenever_a_waiting_lane_may_have_one_and_never_beyond_its_most(
    seats: int, waiting: set[Lane], data: st.DataObject
) -> None:
    schedule = LaneSchedule(seats, WEIGHTS)
    running = {lane: data.draw(st.integers(0, schedule.most(lane))) for lane in Lane}
    lane = schedule.next(waiting, running)
    allowed = {each for each in waiting if running[each] < schedule.most(each)}
    assert (lane in allowed) if allowed else (lane is None)


@given(st.integers(1, 200))
def test_floors_keep_seats_for_lanes_that_are_not_there_yet(seats: int) -> None:
    schedule = LaneSchedule(seats, WEIGHTS)
    for lane in Lane:
        assert 1 <= schedule.most(lane) <= seats
    assert seats - schedule.most(Lane.BACKFILL) >= seats // 4
    assert seats - schedule.most(Lane.RETRY) >= seats // 4


def test_a_lane_alone_gets_what_the_floors_of_the_others_leave() -> None:
    schedule = LaneSchedule(16, WEIGHTS)
    assert {lane: schedule.most(lane) for lane in Lane} == {Lane.LIVE: 14, Lane.RETRY: 11, Lane.BACKFILL: 11}


def test_a_single_seat_serves_whoever_waits() -> None:
    schedule = LaneSchedule(1, WEIGHTS)
    assert [schedule.next([lane], {}) for lane in Lane] == list(Lane)


def test_retries_that_hang_leave_seats_for_a_live_signup() -> None:
    schedule = LaneSchedule(16, WEIGHTS)
    running: Counter[Lane] = Counter()
    while (lane := schedule.next([Lane.RETRY], running)) is not None:
        running[lane] += 1
    assert running[Lane.RETRY] < 16
    assert schedule.next([Lane.LIVE, Lane.RETRY], running) is Lane.LIVE


@given(st.lists(lane_sets, max_size=50))
def test_whoever_waits_long_enough_is_served(interrupted: list[set[Lane]]) -> None:
    schedule = LaneSchedule(16, WEIGHTS)
    for waiting in interrupted:
        schedule.next(waiting, {})
    assert set(serve(schedule, list(Lane), 60)) == set(Lane)


def test_who_was_held_up_for_long_gives_its_place_to_nobody() -> None:
    """Whoever comes for the first time then is level with those who were served meanwhile."""
    turns: Turns[str] = Turns()
    turns.next({"held": 1})
    for _ in range(1000):
        turns.next({"live": 10}, waiting=["live", "held"])
    turns.next({"held": 1}, waiting=["live", "held"])
    served = [turns.next({"live": 10, "new": 10}) for _ in range(20)]
    assert served.count("new") == 10

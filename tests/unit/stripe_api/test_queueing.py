"""Who goes next: shares by lane, endpoints that don't block each other, every waiter served."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.lanes import Lane
from worker.stripe_api.limiter.queue import Queues, Ticket

WEIGHTS = {Lane.LIVE: 80, Lane.RETRY: 15, Lane.BACKFILL: 5}


def queues(account: float = 100.0, endpoint: float = 25.0, weights: Mapping[Lane, int] = WEIGHTS) -> Queues:
    return Queues(account, lambda _endpoint: endpoint, weights, now=0.0)


def run(waiting: Queues, seconds: float, demand: list[tuple[str, Lane]], start: float = 0.0) -> list[Ticket]:
    """Keep one waiter of each kind in `demand` for so long; returns what was granted, in order. Answers are instant."""
    for endpoint, lane in demand:
        waiting.enqueue(endpoint, lane, start)
    granted, now = [], start
    while now < start + seconds:
        for ticket in waiting.grant(now):
            waiting.release(ticket)
            granted.append(ticket)
            waiting.enqueue(ticket.endpoint, ticket.lane, now)
        at = waiting.next_at(now)
        assert at is not None
        now = max(at, now + 1e-6)
    return granted


def lanes(granted: list[Ticket]) -> Counter[Lane]:
    return Counter(ticket.lane for ticket in granted)


def test_lanes_share_a_scarce_budget_by_their_weights() -> None:
    served = lanes(run(queues(), 20.0, [("a", lane) for lane in Lane]))
    total = sum(served.values())
    assert total >= 0.98 * 25 * 20
    assert served[Lane.LIVE] / total == pytest.approx(0.80, abs=0.02)
    assert served[Lane.RETRY] / total == pytest.approx(0.15, abs=0.02)
    assert served[Lane.BACKFILL] / total == pytest.approx(0.05, abs=0.02)


def test_an_idle_lane_leaves_its_share_to_the_others() -> None:
    assert lanes(run(queues(), 10.0, [("a", Lane.BACKFILL)]))[Lane.BACKFILL] >= 0.98 * 25 * 10


def test_a_lane_that_was_idle_has_nothing_saved_up() -> None:
    waiting = queues()
    run(waiting, 30.0, [("a", Lane.LIVE)])
    served = lanes(run(waiting, 4.0, [("a", Lane.BACKFILL)], start=30.0))
    assert served[Lane.BACKFILL] <= 0.08 * sum(served.values()) + 1


def test_a_waiter_for_an_exhausted_endpoint_holds_nobody_else_up() -> None:
    granted = run(queues(), 10.0, [("slow", Lane.LIVE), ("a", Lane.BACKFILL), ("b", Lane.BACKFILL)])
    by_endpoint = Counter(ticket.endpoint for ticket in granted)
    assert all(by_endpoint[endpoint] >= 0.97 * 25 * 10 for endpoint in ("slow", "a", "b"))


def test_endpoints_of_one_lane_take_turns() -> None:
    granted = run(queues(account=10), 10.0, [("a", Lane.LIVE), ("b", Lane.LIVE)])
    by_endpoint = Counter(ticket.endpoint for ticket in granted)
    assert abs(by_endpoint["a"] - by_endpoint["b"]) <= 1


def test_waiters_of_one_kind_are_served_in_order() -> None:
    waiting = queues()
    tickets = [waiting.enqueue("a", Lane.LIVE, 0.0) for _ in range(3)]
    served: list[Ticket] = []
    for step in range(30):
        served += waiting.grant(step / 10)
    assert served == tickets


def test_a_canceled_waiter_is_forgotten() -> None:
    waiting = queues()
    waiting.grant(0.0)
    waiting.cancel(waiting.enqueue("a", Lane.LIVE, 0.0))
    assert waiting.grant(1.0) == []
    assert waiting.waiters() == dict.fromkeys(Lane, 0)
    assert waiting.next_at(1.0) is None


@pytest.mark.parametrize(
    ("reason", "slowed"),
    [
        ("global-rate", {"account"}),
        ("endpoint-rate", {"a"}),
        (None, {"account"}),
        ("resource-specific", set()),
        ("global-concurrency", set()),
        ("something new", set()),
    ],
)
def test_the_reason_of_a_429_says_which_rate_is_cut(reason: str | None, slowed: set[str]) -> None:
    waiting = queues()
    for endpoint in ("a", "b"):
        waiting.enqueue(endpoint, Lane.LIVE, 0.0)
    before = waiting.rates(5.0)
    waiting.throttled("a", reason, 5.0)
    after = waiting.rates(5.0)
    assert {name for name in before if after[name] < before[name]} == slowed


@pytest.mark.parametrize(("reason", "others_go_on"), [("global-concurrency", False), ("endpoint-concurrency", True)])
def test_a_concurrency_429_caps_what_is_in_flight(reason: str, others_go_on: bool) -> None:
    waiting = queues(account=1000, endpoint=1000)
    tickets = [waiting.enqueue("a", Lane.LIVE, 0.0) for _ in range(4)]
    for step in range(10):
        waiting.grant(1 + step / 10)
    assert all(ticket.granted for ticket in tickets)
    waiting.throttled("a", reason, 5.0)
    capped = waiting.enqueue("a", Lane.LIVE, 5.0)
    other = waiting.enqueue("b", Lane.LIVE, 5.0)
    assert waiting.grant(5.1) == ([other] if others_go_on else [])
    for ticket in tickets[:3]:
        waiting.release(ticket)
    assert capped in waiting.grant(5.2)


class Arrivals:
    """Random demand: (time, endpoint, lane)."""

    strategy = st.lists(
        st.tuples(st.floats(0, 5), st.sampled_from("abc"), st.sampled_from(list(Lane))), min_size=1, max_size=150
    )


@given(arrivals=Arrivals.strategy, account=st.integers(5, 60), endpoint=st.integers(5, 30))
def test_everyone_is_served_in_time_and_no_budget_is_exceeded(
    arrivals: list[tuple[float, str, Lane]], account: int, endpoint: int
) -> None:
    waiting = queues(float(account), float(endpoint))
    pending = sorted(arrivals, key=lambda each: each[0])
    granted: list[tuple[float, Ticket]] = []
    now, served_by = 0.0, 10 + len(arrivals) * 1.1 / min(account, endpoint)
    while len(granted) < len(arrivals):
        while pending and pending[0][0] <= now:
            _, name, lane = pending.pop(0)
            waiting.enqueue(name, lane, now)
        for ticket in waiting.grant(now):
            waiting.release(ticket)
            granted.append((now, ticket))
        upcoming = [at for at in (waiting.next_at(now), pending[0][0] if pending else None) if at is not None]
        assert upcoming or len(granted) == len(arrivals), "somebody waits, and nobody will wake them"
        now = max(min(upcoming, default=now), now + 1e-6)
        assert now < served_by
    _assert_within([at for at, _ in granted], account)
    for name in "abc":
        _assert_within([at for at, ticket in granted if ticket.endpoint == name], endpoint)


def _assert_within(times: list[float], rate: float) -> None:
    for index, time in enumerate(times):
        assert sum(1 for other in times[: index + 1] if other > time - 1) <= math.ceil(rate)


def test_a_fraction_is_one_of_the_account_and_of_each_endpoint_known_or_not() -> None:
    waiting = queues(80.0, 20.0)
    waiting.enqueue("before", Lane.LIVE, 0.0)
    waiting.take_fraction(0.5, 0.0)
    waiting.enqueue("after", Lane.LIVE, 0.0)
    assert waiting.rates(0.0) == {"account": 40.0, "before": 10.0, "after": 10.0}


def test_whoever_may_send_one_request_a_second_may_send_it_to_any_endpoint() -> None:
    waiting = queues(80.0, 20.0)
    waiting.take_fraction(1 / 80, 0.0)
    waiting.enqueue("a", Lane.LIVE, 0.0)
    assert waiting.rates(0.0) == {"account": 1.0, "a": 1.0}

"""When an event is tried again, and for how long."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sandbox.stripe.events.deliveries import SCHEDULES, Deliveries

HOUR = 3600


def _attempts(deliveries: Deliveries) -> list[float]:
    """The times at which an endpoint that always fails is tried, from 0."""
    deliveries.add("evt_1", "we_1")
    times = []
    while (when := deliveries.next_due()) is not None:
        assert deliveries.take_due(when - 1) == []
        (delivery,) = deliveries.take_due(when)
        times.append(when)
        assert not deliveries.finish(delivery.event, delivery.endpoint, "failed", when)
    return times


@pytest.mark.parametrize(("mode", "count", "hours"), [("test", 4, (2, 6)), ("live", 10, (60, 72))])
def test_it_is_repeated_ever_later_and_not_for_ever(mode: str, count: int, hours: tuple[int, int]) -> None:
    deliveries = Deliveries()
    deliveries.schedule = SCHEDULES[mode]
    times = _attempts(deliveries)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == count
    assert waits == sorted(waits)
    assert hours[0] * HOUR <= times[-1] <= hours[1] * HOUR


def test_what_was_given_up_counts_when_it_is_sent_again_and_arrives() -> None:
    deliveries = Deliveries()
    _attempts(deliveries)
    deliveries.add("evt_1", "we_1", counted=False)
    assert deliveries.take_due(0)
    assert deliveries.finish("evt_1", "we_1", "delivered", 0)
    deliveries.add("evt_1", "we_1", counted=False)
    assert deliveries.take_due(0)
    assert not deliveries.finish("evt_1", "we_1", "delivered", 0)


def test_what_is_sent_again_leaves_once_and_the_time_before_is_void() -> None:
    deliveries = Deliveries()
    deliveries.add("evt_1", "we_1")
    deliveries.take_due(0)
    deliveries.finish("evt_1", "we_1", "failed", 0)
    deliveries.add("evt_1", "we_1", counted=False)
    assert len(deliveries.take_due(10 * HOUR)) == 1
    assert deliveries.next_due() is None

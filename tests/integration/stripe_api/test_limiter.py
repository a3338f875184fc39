"""The limiter among real threads: pace, order, deadlines."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.stripe_api.conftest import WEIGHTS
from tests.support.waiting import wait_until
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.errors import TryLater
from worker.stripe_api.limiter.limiter import Limiter
from worker.stripe_api.limiter.queue import Ticket


def stamps(limiter: Limiter, seconds: float, threads: int, *, held: float = 0.0) -> list[float]:
    """When permits were had by so many threads that want one all the time."""
    had: list[float] = []
    end = Deadline.after(seconds)

    def work(_number: int) -> None:
        while end.remaining() > 0:
            try:
                with limiter.permit("a", Lane.LIVE, Deadline.after(end.remaining() + 0.25)):
                    had.append(time.monotonic())
                    time.sleep(held)
            except TryLater:
                return

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return sorted(had)


@pytest.mark.parametrize("rate", [100, 25])
def test_many_threads_together_use_the_rate_and_no_more(rate: int) -> None:
    limiter = Limiter(rate, rate, weights=WEIGHTS)
    had = stamps(limiter, 3.0, threads=30, held=0.05)
    # What a machine that is too busy to wake a thread in time still reaches; `python -m bench limits` measures it.
    assert len(had) >= 0.7 * rate * 3
    for index, at in enumerate(had):
        # 50 ms for a machine that is too busy to let a thread note the time at once; to the instant: test_pacing.py
        assert sum(1 for other in had[: index + 1] if other > at - 0.95) <= rate


def test_a_waiter_gives_up_before_its_deadline_and_the_next_one_keeps_the_time() -> None:
    limiter = Limiter(1, 1, weights=WEIGHTS)
    limiter.release(limiter.acquire("a", Lane.LIVE, Deadline.after(5)))
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        hasty = pool.submit(limiter.acquire, "a", Lane.LIVE, Deadline.after(0.5))
        wait_until(lambda: limiter.waiters()[Lane.LIVE] == 1, interval=0.001)
        patient = pool.submit(limiter.acquire, "a", Lane.LIVE, Deadline.after(5))
        with pytest.raises(TryLater, match="limiter_busy"):
            hasty.result()
        assert not patient.done()
        assert patient.result().granted
    assert time.monotonic() - began > 0.9
    assert limiter.waiters()[Lane.LIVE] == 0


class Frozen:
    """A limiter whose time stands still until it is told, and whose keeper sleeps for a minute if nothing wakes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("worker.stripe_api.limiter.limiter.LONGEST_NAP", 60.0)
        self.now = 0.0
        self.limiter = Limiter(20, 20, weights=WEIGHTS, clock=lambda: self.now)

    def acquire(self, endpoint: str, lane: Lane = Lane.LIVE) -> Ticket:
        return self.limiter.acquire(endpoint, lane, Deadline.after(60))

    def one_at_a_time(self, endpoint: str) -> Ticket:
        """The only permit of `endpoint`."""
        held = self.acquire(endpoint)
        self.limiter.throttled(endpoint, "endpoint-concurrency")
        return held


def test_a_waiter_for_another_endpoint_wakes_the_one_that_keeps_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Frozen(monkeypatch)
    held = frozen.one_at_a_time("customers.search")
    with ThreadPoolExecutor(2) as pool:
        keeper = pool.submit(frozen.acquire, "customers.search", Lane.RETRY)
        wait_until(lambda: frozen.limiter.waiters()[Lane.RETRY] == 1, interval=0.001)
        signup = pool.submit(frozen.acquire, "customers.create")
        wait_until(lambda: frozen.limiter.waiters()[Lane.LIVE] == 1, interval=0.001)
        frozen.now = 0.1
        try:
            assert signup.result(timeout=20).granted
            assert not keeper.done(), "it still waits for its own endpoint"
        finally:
            frozen.now = 1.0  # the keeper's turn, too: else it waits for its deadline
            frozen.limiter.release(held)


def test_a_request_that_ends_wakes_the_one_that_keeps_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = Frozen(monkeypatch)
    held = frozen.one_at_a_time("customers.search")
    with ThreadPoolExecutor(1) as pool:
        keeper = pool.submit(frozen.acquire, "customers.search")
        wait_until(lambda: frozen.limiter.waiters()[Lane.LIVE] == 1, interval=0.001)
        frozen.limiter.release(held)  # and the next permit is due in 0.05 s
        frozen.now = 0.1
        assert keeper.result(timeout=20).granted


def test_live_requests_pass_waiting_backfill() -> None:
    limiter = Limiter(20, 20, weights=WEIGHTS)
    order: list[Lane] = []
    lock = threading.Lock()

    def take(lane: Lane) -> None:
        with limiter.permit("a", lane, Deadline.after(10)), lock:
            order.append(lane)

    with ThreadPoolExecutor(40) as pool:
        backfill = [pool.submit(take, Lane.BACKFILL) for _ in range(20)]
        wait_until(lambda: limiter.waiters()[Lane.BACKFILL] >= 10, interval=0.001)
        live = [pool.submit(take, Lane.LIVE) for _ in range(10)]
        for each in live:
            each.result()
        with lock:
            before_the_last_live = order.count(Lane.BACKFILL)
        for each in backfill:
            each.result()
    assert before_the_last_live <= 15


def test_a_permit_is_given_back_when_the_request_fails() -> None:
    limiter = Limiter(1000, 1000, weights=WEIGHTS)
    with limiter.permit("a", Lane.LIVE, Deadline.after(5)):
        limiter.throttled("a", "global-concurrency")  # from now on, one at a time
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), limiter.permit("a", Lane.LIVE, Deadline.after(1)):
            raise ZeroDivisionError


def test_what_was_sent_counts_as_often_as_its_endpoint_is_scarcer_than_the_account() -> None:
    limiter = Limiter(100.0, 25.0, 0.8, weights=WEIGHTS)
    for endpoint in ("customers.create", "customers.create", "subscriptions.create"):
        limiter.release(limiter.acquire(endpoint, Lane.LIVE, Deadline.after(5)))
    sent, waited = limiter.use()
    assert sent == pytest.approx(2 * 80 / 20)
    assert waited < 10
    assert limiter.use()[0] == 0


def test_threads_that_wait_are_counted_while_they_wait() -> None:
    limiter = Limiter(1.0, 1.0, weights=WEIGHTS)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(limiter.acquire, "a", Lane.LIVE, Deadline.after(2.0)) for _ in range(3)]
        wait_until(lambda: sum(limiter.waiters().values()) == 2)
        limiter.use()
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.3)
        _, waited = limiter.use()
        assert waited >= 0.5
        for future in futures:
            future.exception()

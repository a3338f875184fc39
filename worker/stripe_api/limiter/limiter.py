"""Holds requests back so that Stripe doesn't have to: one limiter per process, shared by all its threads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from worker.domain import budget
from worker.domain.deadline import FLOOR, Clock, Deadline, OutOfTime, boot_time
from worker.domain.lanes import Lane
from worker.settings.sections import StripeSettings
from worker.stripe_api.limiter.queue import Queues, Ticket

LIVE_PREFIXES = ("sk_live_", "rk_live_")
LIVE_RATE, TEST_RATE, ENDPOINT_RATE = 100.0, 25.0, 25.0
"""Requests per second that Stripe grants an account with a live key, one in a sandbox, and one endpoint
(https://docs.stripe.com/rate-limits)."""

SEARCH_RATE = 20.0
"""Search has its own, lower limit (https://docs.stripe.com/rate-limits)."""

LONGEST_NAP = 1.0
"""Seconds after which the waiting keeper looks again, although nothing woke it: rates and caps recover meanwhile."""


def account_rate(secret_key: str) -> float:
    """Stripe's limit per second for the account behind this key."""
    return LIVE_RATE if secret_key.startswith(LIVE_PREFIXES) else TEST_RATE


def limiter_for(
    settings: StripeSettings,
    secret_key: str,
    weights: Mapping[Lane, int],
    waited: Callable[[Lane, float], None] = lambda _lane, _seconds: None,
    clock: Clock = boot_time,
) -> Limiter:
    """The limiter that the settings ask for; what they leave open follows from the key's prefix."""
    return Limiter(
        settings.requests_per_second or account_rate(secret_key),
        settings.endpoint_requests_per_second or ENDPOINT_RATE,
        settings.share,
        weights=weights,
        clock=clock,
        waited=waited,
    )


class Limiter:
    """Permits to send, by endpoint and lane.

    The waiting threads need no thread of their own to serve them: one of them, the keeper, wakes when the next permit
    is due and hands it to whoever's turn it is. What brings that moment nearer (a waiter for another endpoint, a
    request that has ended) wakes the keeper, so that it doesn't sleep through it.
    """

    def __init__(
        self,
        account_rate: float,
        endpoint_rate: float = ENDPOINT_RATE,
        share: float = 1.0,
        *,
        weights: Mapping[Lane, int],
        clock: Clock = boot_time,
        waited: Callable[[Lane, float], None] = lambda _lane, _seconds: None,
    ) -> None:
        """Rates are per second; all processes of the deployment take `share` of them, this one as much as `allow`
        says (without a word, all). `waited` is told each wait in seconds."""

        def rate_of(endpoint: str) -> float:
            return share * (min(SEARCH_RATE, endpoint_rate) if endpoint.endswith(".search") else endpoint_rate)

        self.total = share * account_rate
        """Requests per second that the deployment may send."""
        self.clock = clock
        self._rate_of = rate_of
        self._queues = Queues(self.total, rate_of, weights, clock())
        self._allowed_until = float("inf")
        self._sent: Counter[str] = Counter()  # by endpoint
        self._waited_for = 0.0  # seconds, of all threads together, until `_waiting_since`
        self._waiting_since = clock()
        self._waited = waited
        self._lock = threading.Lock()
        self._bells: dict[Ticket, threading.Condition] = {}
        self._keeper: Ticket | None = None
        self._keeper_wakes_at = float("-inf")

    @contextmanager
    def permit(self, endpoint: str, lane: Lane, deadline: Deadline) -> Iterator[None]:
        """Hold a permit for one request. Raises `OutOfTime` if none is to be had before the deadline."""
        ticket = self.acquire(endpoint, lane, deadline)
        try:
            yield
        finally:
            self.release(ticket)

    def acquire(self, endpoint: str, lane: Lane, deadline: Deadline) -> Ticket:
        """Wait for a permit, to be given back with `release`. Errors as `permit`."""
        began = self.clock()
        with self._lock:
            ticket = self._queues.enqueue(endpoint, lane, began)
            self._count_waits(began)
            self._bells[ticket] = threading.Condition(self._lock)
            try:
                self._wait(ticket, deadline)
                left = self.clock()
                ticket.leaves(left)
                self._sent[endpoint] += 1
            finally:
                self._count_waits(self.clock())
                del self._bells[ticket]
                self._hand_over(ticket)
        self._waited(lane, left - began)
        return ticket

    def release(self, ticket: Ticket) -> None:
        """The request that held this permit has ended."""
        with self._lock:
            self._queues.release(ticket)
            self._serve()

    def throttled(self, endpoint: str, reason: str | None) -> None:
        """Stripe answered 429, with this `Stripe-Rate-Limited-Reason`."""
        with self._lock:
            self._queues.throttled(endpoint, reason, self.clock())

    def allow(self, rate: float, until: float) -> None:
        """This process may send `rate` of the deployment's `total` until then (by `clock`), to each endpoint as much in
        proportion, but one request a second; and after that the least, unless it hears again."""
        with self._lock:
            now, self._allowed_until = self.clock(), until
            self._take(rate, now)
            self._serve()

    def _take(self, rate: float, now: float) -> None:
        self._queues.take_fraction(min(1.0, rate / self.total), now)

    def use(self) -> tuple[float, float]:
        """Since this was asked last: the requests that `total` must be so much for, and the seconds that threads
        waited, all together.

        An endpoint's rate grows and shrinks with the account's. So what is sent to one counts as often as it is scarcer
        than the account: 10 requests to an endpoint that has a quarter of `total` need 40.
        """
        with self._lock:
            self._count_waits(self.clock())
            needed = [count * self.total / min(self.total, self._rate_of(each)) for each, count in self._sent.items()]
            used = max(float(self._sent.total()), *needed, 0.0), self._waited_for
            self._sent.clear()
            self._waited_for = 0.0
            return used

    def _count_waits(self, now: float) -> None:
        self._waited_for += len(self._bells) * (now - self._waiting_since)
        self._waiting_since = now

    def rates(self) -> dict[str, float]:
        """The present rates per second: `"account"`, and each endpoint that was used."""
        with self._lock:
            return self._queues.rates(self._now())

    def waiters(self) -> dict[Lane, int]:
        """How many threads wait now, by lane."""
        with self._lock:
            return self._queues.waiters()

    def _wait(self, ticket: Ticket, deadline: Deadline) -> None:
        self._serve()
        while not ticket.granted:
            left = deadline.remaining() - FLOOR
            if left <= 0:
                self._queues.cancel(ticket)
                raise OutOfTime("limiter_busy")
            if self._keeper is None:
                self._keeper = ticket
            self._bells[ticket].wait(min(left, self._nap()) if self._keeper is ticket else left)
            self._serve()

    def _nap(self) -> float:
        """How long the keeper, who asks, may sleep."""
        now = self.clock()
        at = self._queues.next_at(now)
        nap = LONGEST_NAP if at is None else min(LONGEST_NAP, max(0.0, at - now))
        self._keeper_wakes_at = now + nap
        return nap

    def _now(self) -> float:
        """The time, and what is allowed by then."""
        now = self.clock()
        if now >= self._allowed_until:
            self._take(budget.LEAST_RATE, now)
        return now

    def _serve(self) -> None:
        now = self._now()
        for ticket in self._queues.grant(now):
            self._bells[ticket].notify()
        at = self._queues.next_at(now)
        if self._keeper is not None and at is not None and at < self._keeper_wakes_at:
            self._bells[self._keeper].notify()

    def _hand_over(self, ticket: Ticket) -> None:
        """Let another waiter keep the time, if it was this one."""
        if self._keeper is not ticket:
            return
        self._keeper = next((each for each in self._bells if not each.granted), None)
        if self._keeper is not None:
            self._bells[self._keeper].notify()

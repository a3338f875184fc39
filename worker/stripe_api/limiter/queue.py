"""Who goes next: the limiter's state machine, pure. Waiters queue by lane and endpoint; `now` is in seconds.

Lanes take turns by weight (`Turns`). A waiter whose endpoint is exhausted holds nobody else up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.domain.budget import LEAST_RATE
from worker.domain.lanes import Lane
from worker.domain.shares import Turns
from worker.stripe_api.limiter.pace import Bucket, Stamp

BY_REASON = {
    "global-rate": ("account", "rate"),
    "endpoint-rate": ("endpoint", "rate"),
    "global-concurrency": ("account", "concurrency"),
    "endpoint-concurrency": ("endpoint", "concurrency"),
}
"""`Stripe-Rate-Limited-Reason` → whose budget, and which (https://docs.stripe.com/rate-limits)."""


@dataclass(eq=False, slots=True)
class Ticket:
    """One request that waits for its permit, or holds it."""

    endpoint: str
    lane: Lane
    stamp: Stamp | None = None

    @property
    def granted(self) -> bool:
        return self.stamp is not None

    def leaves(self, now: float) -> None:
        """The permit is about to be used, and not when it was given."""
        assert self.stamp is not None
        self.stamp.at = max(self.stamp.at, now)


class Queues:
    """All waiters, all budgets."""

    def __init__(
        self,
        account_rate: float,
        endpoint_rate: Callable[[str], float],
        weights: Mapping[Lane, int],
        now: float,
    ) -> None:
        """Rates in requests per second; `weights` are relative, each at least 1 (so that no lane starves)."""
        self._account_rate = account_rate
        self._fraction = 1.0
        self._account = Bucket(account_rate, now)
        self._endpoint_rate = endpoint_rate
        self._endpoints: dict[str, Bucket] = {}
        self._weights = {lane: max(1, weights[lane]) for lane in sorted(weights)}
        self._turns: Turns[Lane] = Turns()
        self._waiting: dict[Lane, dict[str, deque[Ticket]]] = {lane: {} for lane in weights}

    def enqueue(self, endpoint: str, lane: Lane, now: float) -> Ticket:
        if endpoint not in self._endpoints:
            self._endpoints[endpoint] = Bucket(self._rate_of(endpoint), now)
        ticket = Ticket(endpoint, lane)
        self._waiting[lane].setdefault(endpoint, deque()).append(ticket)
        return ticket

    def take_fraction(self, fraction: float, now: float) -> None:
        """From now on gives so much (0 to 1) of all rates."""
        if fraction == self._fraction:
            return
        self._fraction = fraction
        self._account.pace.configure(fraction * self._account_rate, now)
        for endpoint, bucket in self._endpoints.items():
            bucket.pace.configure(self._rate_of(endpoint), now)

    def _rate_of(self, endpoint: str) -> float:
        """In proportion, but whoever may send one request a second may send it to any endpoint."""
        whole = self._endpoint_rate(endpoint)
        return max(self._fraction * whole, min(whole, LEAST_RATE, self._fraction * self._account_rate))

    def cancel(self, ticket: Ticket) -> None:
        """Take a waiter out; its permit, if it holds one, is to be given back by `release` instead."""
        self._waiting[ticket.lane][ticket.endpoint].remove(ticket)
        self._forget_if_empty(ticket)

    def grant(self, now: float) -> list[Ticket]:
        """Give every permit that may be given now."""
        granted = []
        while (ticket := self._next(now)) is not None:
            self._give(ticket, now)
            granted.append(ticket)
        return granted

    def next_at(self, now: float) -> float | None:
        """When `grant` will have something to give; None while nobody waits, or all wait for a `release`."""
        account = self._account.free_at(now)
        wanted = {endpoint for queues in self._waiting.values() for endpoint in queues}
        times = [at for at in (self._endpoints[endpoint].free_at(now) for endpoint in wanted) if at is not None]
        return None if account is None or not times else max(account, min(times))

    def release(self, ticket: Ticket) -> None:
        """The request has ended."""
        self._account.cap.in_flight -= 1
        self._endpoints[ticket.endpoint].cap.in_flight -= 1

    def throttled(self, endpoint: str, reason: str | None, now: float) -> None:
        """Stripe answered 429. Without a reason the account's rate is meant; an unknown one is about one object."""
        whose, what = BY_REASON.get(reason, ("", "")) if reason else ("account", "rate")
        if not whose:
            return
        bucket = self._account if whose == "account" else self._endpoints[endpoint]
        (bucket.pace if what == "rate" else bucket.cap).cut(now)

    def rates(self, now: float) -> dict[str, float]:
        """The present rates per second: `"account"`, and each endpoint by its name."""
        rates = {endpoint: bucket.pace.rate(now) for endpoint, bucket in self._endpoints.items()}
        return {"account": self._account.pace.rate(now), **rates}

    def waiters(self) -> dict[Lane, int]:
        return {lane: sum(map(len, queues.values())) for lane, queues in self._waiting.items()}

    def _next(self, now: float) -> Ticket | None:
        account = self._account.free_at(now)
        if account is None or account > now:
            return None
        first = {lane: ticket for lane in self._weights if (ticket := self._first(lane, now)) is not None}
        if not first:
            return None
        waiting = [lane for lane, queues in self._waiting.items() if queues]
        return first[self._turns.next({lane: self._weights[lane] for lane in first}, waiting)]

    def _first(self, lane: Lane, now: float) -> Ticket | None:
        """The waiter of this lane that might leave now."""
        for endpoint, queue in self._waiting[lane].items():
            at = self._endpoints[endpoint].free_at(now)
            if at is not None and at <= now:
                return queue[0]
        return None

    def _give(self, ticket: Ticket, now: float) -> None:
        queue = self._waiting[ticket.lane].pop(ticket.endpoint)
        queue.popleft()
        if queue:
            self._waiting[ticket.lane][ticket.endpoint] = queue  # behind the lane's other endpoints: round robin
        ticket.stamp = Stamp(now)
        self._account.take(ticket.stamp)
        self._endpoints[ticket.endpoint].take(ticket.stamp)

    def _forget_if_empty(self, ticket: Ticket) -> None:
        if not self._waiting[ticket.lane][ticket.endpoint]:
            del self._waiting[ticket.lane][ticket.endpoint]

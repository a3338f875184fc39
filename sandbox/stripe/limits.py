"""Rate limits, off by default: requests per second of the account and of each endpoint.

Stripe: 100/s live, 25/s in a sandbox, about 25/s per endpoint; the header `Stripe-Rate-Limited-Reason` says which
(https://docs.stripe.com/rate-limits). Modelled as token buckets that hold one second's worth, by real time.
"""

from __future__ import annotations

from sandbox.stripe.errors import rate_limited


class _Bucket:
    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = max(rate, 1.0)
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(max(self._rate, 1.0), self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Limits:
    """`account_rate` and `endpoint_rate` in requests per second; None for no limit."""

    def __init__(self, account_rate: float | None = None, endpoint_rate: float | None = None) -> None:
        self._account_rate = account_rate
        self._endpoint_rate = endpoint_rate
        self._buckets: dict[str, _Bucket] = {}

    def check(self, endpoint: str, now: float) -> None:
        """429 for a request too many; `now` is any monotonic clock's time in seconds."""
        if self._account_rate is not None and not self._bucket("", self._account_rate, now).take(now):
            raise rate_limited("global-rate")
        if self._endpoint_rate is not None and not self._bucket(endpoint, self._endpoint_rate, now).take(now):
            raise rate_limited("endpoint-rate")

    def _bucket(self, name: str, rate: float, now: float) -> _Bucket:
        if name not in self._buckets:
            self._buckets[name] = _Bucket(rate, now)
        return self._buckets[name]

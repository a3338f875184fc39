"""A gateway on whatever answers at a URL, with a limiter that is in nobody's way unless a test wants one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from worker.domain.lanes import Lane
from worker.settings.sections import StripeSettings
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Metrics

KEY = "sk_test_1"
WEIGHTS = {Lane.LIVE: 80, Lane.RETRY: 15, Lane.BACKFILL: 5}


class NewGateway(Protocol):
    """Opens a gateway for one test."""

    def __call__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        secret_key: Callable[[], str] = lambda: KEY,
        limiter: Limiter | None = None,
    ) -> StripeGateway: ...


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test")


@pytest.fixture
def new_gateway(metrics: Metrics, rng: random.Random) -> Iterator[NewGateway]:
    with ExitStack() as stack:

        def new(
            url: str,
            *,
            timeout: float = 10.0,
            secret_key: Callable[[], str] = lambda: KEY,
            limiter: Limiter | None = None,
        ) -> StripeGateway:
            settings = StripeSettings(api_base=url, request_timeout=timeout)
            generous = Limiter(10_000, 10_000, weights=WEIGHTS, waited=metrics.limiter_wait)
            gateway = StripeGateway(settings, secret_key, limiter or generous, rng=rng, observe=metrics)
            stack.callback(gateway.close)
            return gateway

        yield new

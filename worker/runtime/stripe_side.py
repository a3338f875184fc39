"""Stripe as one process speaks with it, built from the settings."""

from __future__ import annotations

import random
from dataclasses import dataclass

from worker.domain.provisioning import Lane
from worker.errors import Misconfigured
from worker.profiles.catalogue import Catalogue
from worker.settings import Settings
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter import Limiter, limiter_for
from worker.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class StripeSide:
    """Stripe as one process speaks with it."""

    gateway: StripeGateway
    limiter: Limiter
    catalogue: Catalogue


def stripe_side(settings: Settings, metrics: Metrics, rng: random.Random) -> StripeSide:
    """Raises `Misconfigured` without a usable key."""

    def secret_key() -> str:
        key = settings.stripe_secret_key()
        if key is None:
            raise Misconfigured("STRIPE_SECRET_KEY", "is not set", "Give a secret or restricted key of your account.")
        return key

    limiter = limiter_for(settings.stripe, secret_key(), lane_weights(settings), metrics.limiter_wait)
    gateway = StripeGateway(
        settings.stripe, secret_key, limiter, rng=rng, observe=metrics, connections=settings.settle.threads + 2
    )
    return StripeSide(gateway, limiter, Catalogue(gateway, settings.plans, settings.namespace))


def lane_weights(settings: Settings) -> dict[Lane, int]:
    settle = settings.settle
    return {
        Lane.LIVE: settle.live_weight,
        Lane.RETRY: settle.retry_weight,
        Lane.BACKFILL: settle.backfill_weight,
    }

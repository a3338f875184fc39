"""What the webhook counts."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter

from worker.telemetry import labels
from worker.telemetry.registry import Registry

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class WebhookMetrics:
    """Every method is safe from any thread."""

    def __init__(self, registry: Registry) -> None:
        text = "Deliveries of Stripe's, by what came of them"
        deliveries = registry.counter("webhook_deliveries", text, {"outcome": labels.WEBHOOK_OUTCOMES})
        self._deliveries = {outcome: deliveries.labels(outcome) for outcome in labels.WEBHOOK_OUTCOMES}
        text = "From a delivery that has arrived whole to nsqd's OK"
        self._seconds = registry.histogram("webhook_publish_seconds", text, _SECONDS)
        text = "Deliveries signed under this secret of STRIPE_WEBHOOK_SECRETS"
        self._signed = registry.counter("webhook_signatures", text, {"secret": ()})
        self._by_secret: dict[str, Counter] = {}

    def secrets(self, names: Iterable[str]) -> None:
        """These secrets are configured now."""
        self._by_secret = self._by_secret | {name: self._signed.labels(name) for name in names}

    def signed(self, name: str) -> None:
        """A delivery was signed under the secret of this name."""
        self._by_secret[name].inc()

    def delivery(self, outcome: str) -> None:
        """A delivery ended as `outcome` (`labels.WEBHOOK_OUTCOMES`)."""
        self._deliveries[outcome].inc()

    def published(self, seconds: float) -> None:
        """A delivery was published, in so many seconds."""
        self._seconds.observe(seconds)

"""`STRIPE_WEBHOOK_SECRETS` as a process uses them: where they come from a file, a change of the file is followed."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from worker.errors import Misconfigured
from worker.settings.model import Settings
from worker.telemetry import Health
from worker.telemetry.webhook import WebhookMetrics

PART = "webhook_secrets"


class WebhookSecrets:
    """`current` are those that were read last, by name; none: the webhook is disabled. Raises `Misconfigured`."""

    def __init__(self, settings: Settings, health: Health, metrics: WebhookMetrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._text: dict[str, str] = {}
        self.current: Mapping[str, bytes] = {}
        self._use(settings.webhook_secrets())

    def follow(self) -> None:
        """Reads them again; while that can't be done, those of before stay in force, and a person is asked for."""
        try:
            found = self._settings.webhook_secrets()
        except Misconfigured as problem:
            self._health.set(PART, ok=False, detail=str(problem), failing=True)
            return
        self._health.set(PART, ok=True)
        if found != self._text:
            self._use(found)
            structlog.get_logger().info("webhook_secrets.changed", secrets=list(found))

    def _use(self, found: dict[str, str]) -> None:
        self._text = found
        self.current = {name: secret.encode() for name, secret in found.items()}
        self._metrics.secrets(found)

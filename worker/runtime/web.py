"""The web process: Stripe's webhook, the API and the ops page. The webhook needs nsqd and keys, neither Postgres nor
Stripe, so it serves at once; while Postgres is away the API answers 503, and the ops page says so.
"""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from worker.broker.loop_publisher import LoopPublisher
from worker.errors import Misconfigured, SubkeeperError
from worker.events.envelope import Envelopes
from worker.events.webhook import Webhook
from worker.runtime.sealing_keys import SealingKeys
from worker.runtime.webhook_secrets import WebhookSecrets
from worker.settings.model import Settings
from worker.telemetry import Health, Metrics
from worker.telemetry.repeats import Repeats
from worker.telemetry.stream import Losses
from worker.threads import Threads
from worker.web.api.operations import WAIT_SECONDS
from worker.web.app import App
from worker.web.protocol import Bounds
from worker.web.server import HttpServer
from worker.web.stripe_webhook import StripeWebhook

if TYPE_CHECKING:
    from worker.runtime.api import ApiSide
    from worker.runtime.ops import OpsSide

PART, API, ACCOUNTS = "webhook", "api", "accounts"
FOLLOW_SECONDS = 1.0
"""Between two looks at the files of the secrets."""

IDLE_SECONDS = 75.0
"""Longer than common proxies keep a connection to us (nginx and AWS's 60 s), so that it is they who close it."""

DISABLED = "disabled: STRIPE_WEBHOOK_SECRETS is not set"
NO_CALLERS = "disabled: no callers are configured in [api]"


def require_own_port(settings: Settings) -> None:
    """Raises `Misconfigured` where the webhook would listen where the same process's health endpoint does."""
    web, health = settings.web, settings.health
    if web.port and (web.host, web.port) == (health.host, health.port):
        raise Misconfigured("web.port", f"is {web.port}, as health.port is", "Give one of the two another port")


class Web:
    """Begins before anything else of the process does, and ends after it."""

    def __init__(self, settings: Settings, metrics: Metrics, health: Health, rng: random.Random) -> None:
        """Binds its port. Raises `Misconfigured`, and `Unavailable` for a port that is taken."""
        web = settings.web
        require_own_port(settings)
        self._health = health
        self._stopped = threading.Event()
        self._repeats = Repeats(time.monotonic, Losses())
        self._log = structlog.get_logger(__name__)
        self._secrets = WebhookSecrets(settings, health, metrics.webhook)
        self._keys = SealingKeys(settings, health) if self._secrets.current else None
        self._publisher = LoopPublisher(
            settings.nsq, settings.nsq.events_topic, rng=rng, timeout=web.publish_timeout, report=self._told
        )
        webhook = self._webhook(settings, metrics, self._keys) if self._keys else None
        endpoint = StripeWebhook(
            webhook.envelope if webhook else None,
            self._publisher,
            max_body_bytes=web.max_body_bytes,
            max_bytes_in_hand=web.max_bytes_in_hand,
            observe=metrics.webhook,
            refused=self._refused,
        )
        answer = max(web.publish_timeout, WAIT_SECONDS) + 5.0
        bounds = Bounds(web.max_connections, receive=web.receive_timeout, answer=answer, idle=IDLE_SECONDS)
        self.api = _api(settings, metrics, health, rng)
        self.ops = _ops(settings, health, self._keys)
        rest = self.api.app if self.api else None
        app = App(self.ops.app.routes if self.ops else {}, rest)
        self.http = HttpServer(app, web.host, web.port, bounds, name="web", endpoints=[endpoint])

    def _webhook(self, settings: Settings, metrics: Metrics, keys: SealingKeys) -> Webhook:
        return Webhook(
            Envelopes(keys.sealer),
            secrets=lambda: self._secrets.current,
            matched=metrics.webhook.signed,
            livemode=settings.stripe.livemode,
            tolerance=settings.web.signature_tolerance,
            now=time.time,
        )

    def wait(self, timeout: float) -> None:
        """There is no connection to keep."""

    def start(self, threads: Threads) -> None:
        if self._keys is None:
            self._log.warning("webhook.disabled", missing="STRIPE_WEBHOOK_SECRETS")
            self._health.set(PART, ok=True, detail=DISABLED)
        else:
            threads.spawn("web-secrets", self._follow)
        if self.api is None:
            self._log.info("api.disabled")
            self._health.set(API, ok=True, detail=NO_CALLERS)
            self._health.set(ACCOUNTS, ok=True, detail=NO_CALLERS)
        else:
            self.api.start(threads)
            threads.spawn("web-api", partial(self._follow_for_api, self.api))
        threads.spawn("http-web", self._serve)
        self._log.info("web.listening", host=self.http.host, port=self.http.port)

    def stop(self) -> None:
        """Answers what has been asked; the threads then end."""
        self.http.stop()
        if self.api is not None:
            self.api.stop()

    def close(self) -> None:
        self.http.stop()
        if self.api is not None:
            self.api.close()
        if self.ops is not None:
            self.ops.close()

    def _serve(self) -> None:
        try:
            self.http.serve(self._publisher if self._keys else None)
        finally:
            self._stopped.set()
            if self.api is not None:
                self.api.stop()

    def _follow(self) -> None:
        while not self._stopped.wait(FOLLOW_SECONDS):
            self._secrets.follow()
            if self._keys is not None:
                self._keys.openable()

    def _follow_for_api(self, api: ApiSide) -> None:
        api.follow()
        while not self._stopped.wait(FOLLOW_SECONDS):
            api.follow()

    def _told(self, away: SubkeeperError | None) -> None:
        if away is None:
            self._health.set(PART, ok=True)
        else:
            self._health.set(PART, ok=False, detail=str(away), kind=type(away).__name__)

    def _refused(self, reason: str, detail: str) -> None:
        """The same reason once a minute: whoever finds the port can have refusals without end."""
        left_out = self._repeats.since_last(reason)
        if left_out is not None:
            self._log.warning("webhook.refused", reason=reason, detail=detail, left_out=left_out or None)


def _api(settings: Settings, metrics: Metrics, health: Health, rng: random.Random) -> ApiSide | None:
    """None: nobody may call it."""
    if not settings.api.is_on:
        return None
    from worker.runtime.api import ApiSide  # noqa: PLC0415 - who has none starts without its framework

    return ApiSide(settings, metrics, health, rng)


def _ops(settings: Settings, health: Health, keys: SealingKeys | None) -> OpsSide | None:
    """None: there is no page."""
    if settings.web.ops == "off":
        return None
    from worker.runtime.ops import OpsSide  # noqa: PLC0415 - likewise

    return OpsSide(settings, health, keys.openable if keys else None)

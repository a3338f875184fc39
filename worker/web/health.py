"""The health endpoint: is the process alive, can it do its work, and what does it count. Loopback by default.

/healthz   200 while nothing is wrong that only a person can mend, else 503: alert on it
/readyz    200 when every part is ready, else 503, with each part's state: most of it passes by itself
/metrics   Prometheus' text format
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from worker.settings.sections import HealthSettings
from worker.telemetry import Health, Metrics
from worker.web.app import Answer, App, Handler, Request
from worker.web.protocol import Bounds
from worker.web.server import HttpServer

BOUNDS = Bounds(connections=200, receive=5.0, answer=5.0, idle=5.0)
"""For probes and a Prometheus, which ask and leave."""

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def health_server(settings: HealthSettings, health: Health, metrics: Metrics) -> HttpServer:
    """The endpoint, bound and not yet serving. Raises `Misconfigured` where it cannot listen, `Unavailable` where
    another process does."""
    pages = HealthPages(health, metrics)
    routes: dict[str, Callable[[], Answer]] = {
        "/healthz": pages.healthz,
        "/readyz": pages.readyz,
        "/metrics": pages.metrics,
    }
    app = App({path: {"GET": _handler(page)} for path, page in routes.items()})
    return HttpServer(app, settings.host, settings.port, BOUNDS, name="health")


def _handler(page: Callable[[], Answer]) -> Handler:
    async def handle(_request: Request) -> Answer:
        return page()

    return handle


class HealthPages:
    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics

    def healthz(self) -> Answer:
        reasons = self._health.reasons()
        return _verdict(ok=not reasons, word="healthy", rest={"reasons": reasons})

    def readyz(self) -> Answer:
        parts = {part: {"ok": state.ok, "detail": state.detail} for part, state in self._health.parts().items()}
        return _verdict(ok=self._health.is_ready(), word="ready", rest={"parts": parts})

    def metrics(self) -> Answer:
        return Answer(HTTPStatus.OK, _PROMETHEUS, self._metrics.render())


def _verdict(*, ok: bool, word: str, rest: dict[str, Any]) -> Answer:
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, _JSON, json.dumps({"status": word if ok else f"not {word}", **rest}).encode())

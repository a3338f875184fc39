"""The health endpoint: is the process alive, can it do its work, and what does it count. Loopback by default.

/healthz   200 while nothing is wrong that only a person can mend, else 503: alert on it
/readyz    200 when every part is ready, else 503, with each part's state: most of it passes by itself
/metrics   Prometheus' text format
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from worker.settings.sections import HealthSettings
from worker.telemetry import Health, Metrics
from worker.web.server import HttpServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_JSON = "application/json"
_PROBLEM = "application/problem+json"


def health_server(settings: HealthSettings, health: Health, metrics: Metrics) -> HttpServer:
    """The endpoint, bound and not yet serving. Raises `Misconfigured` where it cannot listen, `Unavailable` where
    another process does."""
    return HttpServer(HealthApp(health, metrics), settings.host, settings.port, name="health")


class HealthApp:
    """The endpoint as a WSGI application."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, content_type, body = self._answer(environ["PATH_INFO"], environ["REQUEST_METHOD"])
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _answer(self, path: str, method: str) -> tuple[HTTPStatus, str, bytes]:
        pages = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._prometheus}
        page = pages.get(path)
        if page is None:
            return _problem(HTTPStatus.NOT_FOUND)
        return page() if method in {"GET", "HEAD"} else _problem(HTTPStatus.METHOD_NOT_ALLOWED)

    def _healthz(self) -> tuple[HTTPStatus, str, bytes]:
        reasons = self._health.reasons()
        return _verdict(ok=not reasons, word="healthy", rest={"reasons": reasons})

    def _readyz(self) -> tuple[HTTPStatus, str, bytes]:
        parts = {part: {"ok": state.ok, "detail": state.detail} for part, state in self._health.parts().items()}
        return _verdict(ok=self._health.is_ready(), word="ready", rest={"parts": parts})

    def _prometheus(self) -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", self._metrics.render()


def _verdict(*, ok: bool, word: str, rest: dict[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return status, _JSON, json.dumps({"status": word if ok else f"not {word}", **rest}).encode()


def _problem(status: HTTPStatus) -> tuple[HTTPStatus, str, bytes]:
    """RFC 9457."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value}
    return status, _PROBLEM, json.dumps(body).encode()

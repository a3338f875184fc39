"""The ports that a worker listens on, the health port and the webhook's: free, or whose? And who sees the ops page."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlsplit

import urllib3

from worker.errors import SubkeeperError
from worker.runtime.doctor.findings import Findings, ok, refused, warning
from worker.runtime.ops import is_open_here
from worker.runtime.web import require_own_port
from worker.settings.kinds import is_loopback
from worker.settings.model import Settings
from worker.settings.sections import HealthSettings, WebSettings
from worker.telemetry import Health, Metrics
from worker.version import VERSION
from worker.web.app import App
from worker.web.health import BOUNDS, health_server
from worker.web.server import HttpServer

HEALTH, WEB, OPS = "health", "web", "ops"
ANSWER_SECONDS = 3.0


def check_health(settings: HealthSettings) -> Findings:
    """Listens there for a moment, as a worker would."""
    fix = "Set health.host and health.port to an address of this machine that is free"
    error = _trouble(lambda: health_server(settings, Health(), Metrics(VERSION)).stop())
    if error is None:
        yield ok(HEALTH, _free(settings))
    elif (said := _told(settings, "/readyz", "status")) in {"ready", "not ready"}:
        fix = "A second worker on this machine needs a health.port of its own (0: any free one)"
        yield warning(HEALTH, f"{_where(settings)} is held by a worker that is {said}", fix)
    else:
        yield refused(HEALTH, error, fix)


def check_web(settings: Settings) -> Findings:
    """Likewise, where signing secrets are given: else the webhook is hardly meant to be served here, and it is a
    warning for who would `run all`."""
    web, is_meant = settings.web, _takes_deliveries(settings)
    fix = "Give web.port another port, where this machine is to run `web` or `all`"

    def listen() -> None:
        require_own_port(settings)
        HttpServer(App({}), web.host, web.port, BOUNDS, name=WEB).stop()

    error = _trouble(listen)
    if error is None:
        yield ok(WEB, _free(web))
    elif _told(web, "/stripe/webhook", "title") == "Method Not Allowed":
        fix = "A second one on this machine that runs `web` or `all` needs a web.port of its own (0: any free one)"
        yield warning(WEB, f"{_where(web)} is held by a worker that serves the webhook", fix)
    elif is_meant:
        yield refused(WEB, error, fix)
    else:
        yield warning(WEB, str(error), fix)


def check_ops(settings: Settings) -> Findings:
    """A warning where the page may be shown to the world: it asks whoever is on this machine for no token, and so may a
    proxy be that says nothing of itself. Others than this machine are meant to get through."""
    public = [f"api.return_origins has {each}" for each in settings.api.return_origins if not _is_here(each)]
    if _takes_deliveries(settings) and not _is_here(settings.stripe.api_base):
        public.append("Stripe is to deliver to the webhook")
    if settings.web.ops == "auto" and is_open_here(settings) and public:
        detail = f"the ops page needs no token from this machine in test mode, and {public[0]}"
        yield warning(OPS, detail, 'Set web.ops = "token", unless nothing on this machine passes /ops on')


def _takes_deliveries(settings: Settings) -> bool:
    return bool(settings.stripe.webhook_secrets or settings.stripe.webhook_secrets_file)


def _is_here(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _trouble(listen: Callable[[], None]) -> SubkeeperError | None:
    try:
        listen()
    except SubkeeperError as error:
        return error
    return None


def _where(settings: HealthSettings | WebSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


def _free(settings: HealthSettings | WebSettings) -> str:
    return f"{_where(settings)} is free" if settings.port else f"a free port of {settings.host}, which the log tells"


def _told(settings: HealthSettings | WebSettings, path: str, field: str) -> str:
    """What a worker tells there in a field of its JSON; "" of anything else."""
    http = urllib3.PoolManager(timeout=urllib3.Timeout(total=ANSWER_SECONDS), retries=False)
    try:
        answer = http.request("GET", f"http://{_where(settings)}{path}")
        return str(json.loads(answer.data)[field])
    except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
        return ""
    finally:
        http.clear()

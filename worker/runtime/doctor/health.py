"""The health port: free, or whose?"""

from __future__ import annotations

import json

import urllib3

from worker.errors import SubkeeperError
from worker.runtime.doctor.findings import Findings, ok, refused, warning
from worker.settings.sections import HealthSettings
from worker.telemetry import Health, Metrics
from worker.version import VERSION
from worker.web.health import health_server

CHECK = "health"
ANSWER_SECONDS = 3.0


def check_health(settings: HealthSettings) -> Findings:
    """Listens there for a moment, as a worker would."""
    where = f"{settings.host}:{settings.port}"
    if settings.port == 0:
        yield ok(CHECK, f"a free port of {settings.host}, which the log tells")
        return
    try:
        health_server(settings, Health(), Metrics(VERSION)).stop()
    except SubkeeperError as error:
        if (said := _status(settings)) in {"ready", "not ready"}:
            fix = "A second worker on this machine needs a health.port of its own (0: any free one)"
            yield warning(CHECK, f"{where} is held by a worker that is {said}", fix)
        else:
            yield refused(CHECK, error, "Set health.host and health.port to an address of this machine that is free")
        return
    yield ok(CHECK, f"{where} is free")


def _status(settings: HealthSettings) -> str:
    """The status that a worker tells there; "" of anything else."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    http = urllib3.PoolManager(timeout=urllib3.Timeout(total=ANSWER_SECONDS), retries=False)
    try:
        answer = http.request("GET", f"http://{host}:{settings.port}/readyz")
        return str(json.loads(answer.data)["status"])
    except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
        return ""
    finally:
        http.clear()

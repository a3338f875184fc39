"""What can be told of settings before anything is connected to: all that keeps a process from starting with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from worker.errors import Misconfigured, Unavailable
from worker.runtime.operations import message_shape
from worker.runtime.resources import Resources
from worker.runtime.services import FRONTS, JOBS, Front, Job
from worker.settings.loading import InvalidSettings
from worker.settings.model import Settings
from worker.telemetry import Health, Metrics
from worker.version import VERSION
from worker.web.health import health_server

PRIVILEGED = 1024
"""Ports below it are root's, on most systems."""


def require_usable(settings: Settings, rng: random.Random) -> None:
    """Builds what `subkeeper run` builds, and lets go of it again. Raises `InvalidSettings` with what it refuses."""
    billing = settings.stripe_secret_key() is not None
    metrics, health = Metrics(VERSION), Health()
    builds: list[Callable[[], object]] = [
        lambda: message_shape(settings),
        *(partial(_read, job, settings, rng, metrics) for job in JOBS.values()),
        lambda: _listen(settings),
        *(partial(_stand_in_front, front, settings, metrics, rng) for front in FRONTS.values()),
    ]
    if billing:
        builds.append(settings.secret_keys)
    found = [problem for build in builds if (problem := _problem(build)) is not None]
    problems = list({str(problem): problem for problem in found}.values())  # several readers meet the same
    if not problems and billing:
        whole = _problem(lambda: _build(Resources(settings, metrics, health, rng)))
        problems = [whole] if whole is not None else []
    if problems:
        raise InvalidSettings(problems)


def _read(job: Job, settings: Settings, rng: random.Random, metrics: Metrics) -> None:
    if job.reader is not None:
        job.reader(settings.nsq, rng, metrics).close(timeout=0)


def _stand_in_front(front: Front, settings: Settings, metrics: Metrics, rng: random.Random) -> None:
    """On a port of its own, as the health endpoint below."""
    web = settings.web.model_copy(update={"port": settings.web.port if settings.web.port < PRIVILEGED else 0})
    with suppress(Unavailable):
        front.build(settings.model_copy(update={"web": web}), metrics, Health(), rng).close()


def _build(resources: Resources) -> None:
    try:
        for job in JOBS.values():
            job.build(resources).close()
    finally:
        resources.close()


def _problem(build: Callable[[], object]) -> Misconfigured | None:
    try:
        build()
    except Misconfigured as problem:
        return problem
    return None


def _listen(settings: Settings) -> None:
    """Whether the health endpoint's address can be had. On a port of its own, since a worker may be on the real one;
    unless that is privileged: then it is tried."""
    port = settings.health.port if settings.health.port < PRIVILEGED else 0
    with suppress(Unavailable):  # in use, for now
        health_server(settings.health.model_copy(update={"port": port}), Health(), Metrics(VERSION)).stop()

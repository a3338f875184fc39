"""All checks: side by side, told in one order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from worker.runtime.doctor.findings import Bounded, Findings
from worker.runtime.doctor.nsq import NsqCheck
from worker.runtime.doctor.ports import check_health, check_ops, check_web
from worker.runtime.doctor.postgres import PostgresCheck
from worker.runtime.doctor.secrets import check_secrets
from worker.runtime.doctor.stripe import StripeCheck
from worker.runtime.doctor.together import check_together
from worker.settings.model import Settings

PATIENCE = 30.0
"""Seconds for all of it: more than every part's own timeouts, so that only what has none of its own is cut off."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def examine(
    settings: Settings, rng: random.Random, *, now: Callable[[], datetime] = _utc_now, patience: float = PATIENCE
) -> Findings:
    """What is found, each finding as soon as those before it are told. Writes nothing anywhere.

    `now` is this machine's time (UTC); `patience` in seconds.
    """
    until = time.monotonic() + patience
    postgres, stripe = PostgresCheck(settings, now), StripeCheck(settings, rng, now)
    parts = [
        Bounded("secrets", partial(check_secrets, settings)),
        Bounded("postgres", postgres.findings),
        Bounded("nsqd", NsqCheck(settings.nsq).findings),
        Bounded("stripe", stripe.findings),
        Bounded("health", partial(check_health, settings.health)),
        Bounded("web", partial(check_web, settings)),
        Bounded("ops", partial(check_ops, settings)),
    ]
    for part in parts:
        yield from part.results(until)
    yield from check_together(settings, postgres, stripe, rng)

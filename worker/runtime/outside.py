"""What a process meets outside of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from worker.domain.clocks import local_time
from worker.domain.deadline import Clock, boot_time
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.stripe_api.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Outside:
    """The ways out of a process, and its clocks: the real ones, where a test doesn't give others.

    `stripe` makes the HTTP client for an origin, which keeps so many connections; `clock` measures spans, `local_time`
    tells the date (UTC).
    """

    database: Callable[[DatabaseSettings], Database] = Database
    stripe: Callable[[str, int], HttpClient] = HttpClient
    clock: Clock = boot_time
    local_time: Callable[[], datetime] = local_time
    sleep: Callable[[float], None] = time.sleep


OUTSIDE = Outside()
"""The real one."""

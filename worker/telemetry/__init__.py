"""What a running Subkeeper says about itself: log events and metrics. Neither ever carries personal data or a secret.

events   the list of log events with their fields: an API, like a table's columns
logs     structlog and the libraries' `logging`, both through the rules below
errors   an exception as type, code locations and our own words
scrub    the last line of defence: patterns and known secrets masked in every text
watchdog threads that make no progress
metrics  Prometheus metrics (docs/metrics.md lists them)
"""

from __future__ import annotations

from worker.telemetry.events import EVENTS
from worker.telemetry.health import Condition, Health
from worker.telemetry.logs import configure_logging, install_crash_hooks
from worker.telemetry.metrics import Metrics
from worker.telemetry.scrub import Scrubber
from worker.telemetry.watchdog import Watchdog

__all__ = [
    "EVENTS",
    "Condition",
    "Health",
    "Metrics",
    "Scrubber",
    "Watchdog",
    "configure_logging",
    "install_crash_hooks",
]

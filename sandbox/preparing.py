"""A fresh sandbox made ready, as `subkeeper setup` makes what it is given."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from worker.runtime.setup import setup
from worker.settings.model import Settings
from worker.settings.sections import LogSettings
from worker.telemetry import configure_logging


def prepare(config: Path) -> None:
    """Schema, Stripe's products and prices, topics and channels. Raises what `setup` raises."""
    settings = Settings.load(config, {})  # a key in the environment is not the sandbox's
    configure_logging(LogSettings(level="warning", format="console"), sys.stderr)
    for _ in setup(settings, random.Random()):  # noqa: S311 - jitter
        pass

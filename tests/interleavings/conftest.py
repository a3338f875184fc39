"""A world to play with: a database whose clock is the test's own, and no logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import structlog
from pydantic import SecretStr
from structlog.typing import EventDict

from tests.interleavings.process import LOCK_TIMEOUT
from tests.interleavings.world import World
from tests.support.simulated_clock import with_simulated_clock
from worker.settings.sections import DatabaseSettings
from worker.stripe_api.limiter import limiter
from worker.telemetry import Metrics


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    """What the workers warn of, and what nobody foresaw (`critical`); they say nothing else."""
    before, logged = structlog.get_config(), list[EventDict]()

    def keep(_logger: object, level: str, event: EventDict) -> EventDict:
        if level in {"warning", "critical"}:
            logged.append({**event, "level": level})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    yield logged
    structlog.configure(**before)


@pytest.fixture
def new_world(
    database_url: str, logged: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], World]]:
    """Makes an empty world; one at a time. Search, whose rate can't be configured, holds nobody back either: whoever
    waits for a permit waits for a clock that stands still."""
    monkeypatch.setattr(limiter, "SEARCH_RATE", float("inf"))
    eyes = with_simulated_clock(database_url)
    settings = DatabaseSettings(url=SecretStr(database_url), pool_size=2, lock_timeout=LOCK_TIMEOUT)
    metrics = Metrics("test")
    yield lambda: World(settings, eyes, metrics, logged)
    eyes.dispose()


@pytest.fixture
def world(new_world: Callable[[], World]) -> Iterator[World]:
    world = new_world()
    yield world
    world.stop()

"""Deployments as the main job's tests have them, and processes that meet a fault where it hurts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.launcher import Launcher
from tests.integration.provisioning.conftest import (  # noqa: F401 - fixtures are found by name
    NewStack,
    closing,
    new_stack,
    quick_probes,
    stack,
)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """Starts commands that are killed with the test; comes before the deployment in the arguments, to end after it."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()

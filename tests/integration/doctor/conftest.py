"""A deployment that is set up (`stack`), and what the doctor finds on it (`found`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.integration.provisioning.conftest import closing, new_stack, stack
from tests.support.stack import Stack
from worker.runtime.doctor.examining import examine
from worker.runtime.doctor.findings import Finding, Verdict

__all__ = ["closing", "new_stack", "stack"]


class Examined:
    """What was found, in order."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    def of(self, check: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.check == check]

    def one(self, check: str) -> Finding:
        [finding] = self.of(check)
        return finding

    @property
    def unwell(self) -> dict[str, Verdict]:
        """The checks that found something."""
        wanted = (Verdict.WARNING, Verdict.PROBLEM)
        return {finding.check: finding.verdict for finding in self.findings if finding.verdict in wanted}


Examine = Callable[..., Examined]


@pytest.fixture
def examined(rng: random.Random) -> Examine:
    """Examines a stack with changed settings; `now` is this machine's clock."""

    def examined(
        stack: Stack, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), patience: float = 30.0, **environ: str
    ) -> Examined:
        return Examined(list(examine(stack.settings(**environ), rng, now=now, patience=patience)))

    return examined

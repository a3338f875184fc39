"""What the adapter tells whoever counts."""

from __future__ import annotations

from typing import Protocol

from worker.domain.provisioning import Lane


class StripeObserver(Protocol):
    """Told of every call and every wait, from any thread; must not raise."""

    def stripe_call(self, operation: str, outcome: str, seconds: float) -> None:
        """One request has ended. `outcome`: `"ok"`, or the name of our error in snake_case."""

    def limiter_wait(self, lane: Lane, seconds: float) -> None:
        """A request had to wait for its permit, for so long (0 included)."""

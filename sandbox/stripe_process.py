"""The sandbox's Stripe as a part: a process of its own, so that it takes no time from whoever measures."""

from __future__ import annotations

import os
import sys
from typing import ClassVar

from sandbox import ports
from sandbox.part import Part
from sandbox.workspace import Workspace


class StripeProcess(Part):
    """`sandbox.stripe` on a free port; its objects are in a file, so that they survive a kill as Stripe's do."""

    name: ClassVar[str] = "stripe"

    def __init__(
        self, workspace: Workspace, *, secret_key: str, seed: str = "sandbox", unlimited_test_clocks: bool = False
    ) -> None:
        super().__init__(workspace)
        self.secret_key = secret_key
        self._flags = ["--unlimited-test-clocks"] if unlimited_test_clocks else []
        self._seed = seed

    @property
    def api_base(self) -> str:
        """The URL that a Stripe client takes in place of `https://api.stripe.com`."""
        return f"http://127.0.0.1:{self.port}"

    def choose_ports(self) -> None:
        self.port = ports.free_port()

    def ports(self) -> set[int]:
        return {self.port}

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-P",
            "-m",
            "sandbox.stripe",
            f"--port={self.port}",
            f"--seed={self._seed}",
            f"--state-file={self.directory / 'state'}",
            *self._flags,
        ]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "STRIPE_SECRET_KEY": self.secret_key}

    def answers(self) -> bool:
        return ports.answers(self.port)

"""A worker as its supervisor starts it: the console command, in a process of its own."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from sandbox import ports
from sandbox.part import Part
from sandbox.workspace import Workspace


def environment_without_settings() -> dict[str, str]:
    """This process's: a key of the user's own must not reach what runs on a sandbox, nor any other override."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SUBKEEPER_", "STRIPE_"))}


class WorkerProcess(Part):
    """`subkeeper run …` on the sandbox's configuration, with `environ` over it; it answers once it is ready."""

    name: ClassVar[str] = "worker"

    def __init__(
        self, workspace: Workspace, config: Path, what: str = "profiles", environ: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(workspace)
        self._config = config
        self._what = what
        self._environ = environ or {}

    def choose_ports(self) -> None:
        self.port = ports.free_port()

    def ports(self) -> set[int]:
        return {self.port}

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "worker", "--config", str(self._config), "run", self._what]

    def environment(self) -> dict[str, str]:
        return {**environment_without_settings(), **self._environ, "SUBKEEPER_HEALTH__PORT": str(self.port)}

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()

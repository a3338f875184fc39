"""`SUBKEEPER_SECRET_KEY` as a process uses it: where it comes from a file, a change of the file is followed."""

from __future__ import annotations

from worker.errors import Misconfigured
from worker.sealing import Sealer
from worker.settings.model import Settings
from worker.telemetry import Health


class SealingKeys:
    """`sealer` seals and opens with the keys that were read last. Raises `Misconfigured` where there are none."""

    def __init__(self, settings: Settings, health: Health) -> None:
        self._settings = settings
        self._health = health
        self.sealer = Sealer(settings.secret_keys())

    def openable(self) -> list[bytes]:
        """`Sealer.headers` of the keys as they are now; of those before while the file can't be read."""
        try:
            self.sealer.use(self._settings.secret_keys())
        except Misconfigured as problem:
            self._health.set("sealing_key", ok=False, detail=str(problem), failing=True)
        else:
            self._health.set("sealing_key", ok=True)
        return self.sealer.headers

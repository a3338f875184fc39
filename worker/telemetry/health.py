"""Whether the process is alive and able to work: what its parts say of themselves. `worker.web.health` serves it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import structlog


@dataclass(frozen=True)
class Condition:
    """One part's state: whether it is well, and a sentence for people without personal data.

    `failing`: it is not, and only a person can mend it.
    """

    ok: bool
    detail: str
    failing: bool = False


class Health:
    """What is known of the process: parts by name, and what went fatally wrong. Safe from any thread.

    `parts` names what must report before the process counts as ready.
    """

    def __init__(self, parts: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._parts = {part: Condition(ok=False, detail="starting") for part in parts}
        self._fatal: list[str] = []

    def set(self, part: str, *, ok: bool, detail: str = "", failing: bool = False) -> None:
        """A part's state now. A change from well to unwell, or back, is logged; repeating it is free.

        While a part is `failing` the process is unhealthy, not just unready.
        """
        with self._lock:
            before = self._parts.get(part)
            self._parts[part] = Condition(ok, detail, failing)
        if before is None or before.ok != ok:
            structlog.get_logger().info("health.changed", part=part, ok=ok, detail=detail)

    def fatal(self, reason: str) -> None:
        """Something no waiting mends (a dead thread): the process is unhealthy from now on."""
        with self._lock:
            self._fatal.append(reason)
        structlog.get_logger().error("health.failed", reason=reason)

    def reasons(self) -> list[str]:
        """What went fatally wrong, oldest first, and which parts are failing; empty while the process is healthy."""
        with self._lock:
            return [*self._fatal, *(f"{part}: {each.detail}" for part, each in self._parts.items() if each.failing)]

    def parts(self) -> dict[str, Condition]:
        """Every part's state."""
        with self._lock:
            return dict(self._parts)

    def is_ready(self) -> bool:
        """Whether nothing is fatal and every part is well."""
        with self._lock:
            return not self._fatal and all(condition.ok for condition in self._parts.values())

"""Whether the process is alive and able to work: what its parts say of themselves. `worker.web.health` serves it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from worker.errors import AccessRefused, Misconfigured, SubkeeperError, Unavailable

STARTING = "starting"
PATIENCE = 10.0
"""Seconds after the start of the process in which a part that isn't there yet is no news."""

SILENT = "silent"
SILENT_AFTER = 60.0
"""Seconds without an answer: retries get over what is shorter."""


@dataclass(frozen=True)
class Condition:
    """One part's state: whether it is well, and a sentence for people without personal data.

    `failing`: it is not, and only a person can mend it. `kind`: what is wrong, as a constant.
    """

    ok: bool
    detail: str
    failing: bool = False
    kind: str = ""


class Health:
    """What is known of the process: parts by name, and what went fatally wrong. Safe from any thread.

    `parts` names what must report before the process counts as ready. `clock`: monotonic, in seconds.
    """

    def __init__(self, parts: Iterable[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._parts = {part: Condition(ok=False, detail=STARTING, kind=STARTING) for part in parts}
        self._fatal: list[str] = []
        self._clock = clock
        self._began = clock()
        self._answered: dict[str, float] = {}
        self._unanswered: dict[str, float] = {}

    def report(self, part: str, ok: bool, detail: str) -> None:
        """`set`, for who is handed it."""
        self.set(part, ok=ok, detail=detail)

    def set(self, part: str, *, ok: bool, detail: str = "", failing: bool = False, kind: str = "") -> None:
        """A part's state now; a part that is well has answered.

        Turning bad is logged as an error, turning well at info, and another `kind` of trouble as an error again:
        each once, repeating it is free. While a part is `failing` the process is unhealthy, not just unready. One that
        has not come up yet is told once `PATIENCE` has passed, or at once where it says what is wrong.
        """
        with self._lock:
            before = self._parts.get(part)
            is_starting = before is not None and before.kind == STARTING and self._clock() - self._began < PATIENCE
            if is_starting and not (ok or failing or kind):
                kind = STARTING
            self._parts[part] = Condition(ok, detail, failing, kind)
        if ok:
            self.answered(part)
        if before is None or (before.ok, before.failing, before.kind) != (ok, failing, kind):
            level = logging.INFO if ok else logging.ERROR
            structlog.get_logger().log(level, "health.changed", part=part, ok=ok, detail=detail)

    def away(self, part: str, error: SubkeeperError) -> None:
        """`part` can't do its work because of `error`, or the dependency that this names can't."""
        part = error.dependency if isinstance(error, Unavailable) else part
        failing = isinstance(error, (Misconfigured, AccessRefused))
        self.set(part, ok=False, detail=str(error), failing=failing, kind=type(error).__name__)

    def is_failing(self, part: str) -> bool:
        """Whether only a person can mend what is wrong with this part."""
        with self._lock:
            return part in self._parts and self._parts[part].failing

    def answered(self, part: str) -> None:
        """The part has just answered, whatever it said."""
        with self._lock:
            self._answered[part] = self._clock()
            self._unanswered.pop(part, None)
            was_silent = part in self._parts and self._parts[part].kind == SILENT
        if was_silent:
            self.set(part, ok=True)

    def unanswered(self, part: str) -> None:
        """The part was asked in vain. It is no longer well when that has gone on for `SILENT_AFTER` seconds."""
        with self._lock:
            seconds = self._clock() - self._unanswered.setdefault(part, self._clock())
            seems_well = part in self._parts and self._parts[part].ok
        if seems_well and seconds >= SILENT_AFTER:
            self.set(part, ok=False, detail=f"has been asked in vain for {seconds:.0f} s", kind=SILENT)

    def silence(self) -> dict[str, float]:
        """Seconds since each part last answered; since the start for one that never has."""
        now = self._clock()
        return {part: now - self._answered.get(part, self._began) for part in self.parts()}

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
        """Every part's state. What has said nothing within `PATIENCE` is no longer starting: it doesn't come."""
        is_late = self._clock() - self._began >= PATIENCE
        with self._lock:
            return {
                part: replace(each, kind="") if is_late and each.kind == STARTING else each
                for part, each in self._parts.items()
            }

    def is_ready(self) -> bool:
        """Whether nothing is fatal and every part is well."""
        with self._lock:
            return not self._fatal and all(condition.ok for condition in self._parts.values())

"""Whether leased work is done by all threads, one at a time, or not at all.

What hits a row while others pass is that row's; what hits everybody is nobody's (`worker.domain.doubt`). What is known
of it is in the database, so that it outlives a process and every process sees it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic

import structlog

from worker.domain.deadline import Clock, boot_time
from worker.domain.doubt import Refusal, in_doubt
from worker.errors import Misconfigured, SubkeeperError, TryLater
from worker.work.owner import Ended, LeaseT, Refusals

PROBE_INTERVAL = 5.0
"""Seconds between attempts to settle again while settling is halted, and between looks at what others were refused."""

LONGEST_PAUSE = 60.0
"""Seconds that these grow to while the key is refused: a signup waits."""

HALTED_AFTER = 30.0
"""Seconds of doubt after which a person is asked for, even if rows that were not refused are left to try."""


NEVER = float("-inf")


class InDoubt(TryLater):
    """Rows were refused alike and none passed: single ones are tried until it is known whose fault it is."""


class Halting(Generic[LeaseT]):
    """Hears how each row's settling ended, and says whether settling is `halted`.

    It is barred at first and after a refused key: then nothing is tried until `preflight` passes, then one row. It is
    in doubt while the database says so: then one row is tried at a time, one that was not refused if there is any left.
    `shared_problem`: what is known to be wrong with what every new row needs (None: nothing); nobody is blamed
    meanwhile. `report` hears whenever the reason why things aren't well has changed; None: they are.

    While a person is to mend what bars it, each attempt to go on waits twice as long as the one before, up to
    `longest_pause` seconds (None: `LONGEST_PAUSE`); but none where `key`, the configured one, is another by now.
    """

    def __init__(
        self,
        refusals: Refusals[LeaseT],
        *,
        preflight: Callable[[], None],
        shared_problem: Callable[[], SubkeeperError | None],
        report: Callable[[SubkeeperError | None], None],
        key: Callable[[], str | None],
        longest_pause: float | None = None,
        clock: Clock = boot_time,
    ) -> None:
        self._refusals = refusals
        self._preflight = preflight
        self._shared_problem = shared_problem
        self._report = report
        self._key = key
        self._longest_pause = LONGEST_PAUSE if longest_pause is None else longest_pause
        self._clock = clock
        self._log = structlog.get_logger(__name__)
        self._lock = threading.RLock()
        self.halted = True
        """Whether threads are to take up no rows: looked at for each, so no property."""
        self._tried_key: str | None = None  # the sweeper's
        # All of the following under the lock.
        self._starting = True
        self._bar: SubkeeperError | None = None
        self._doubt: Refusal | None = None
        self._doubted_since = 0.0
        self._exhausted = False
        self._newest = True
        self._probe_at = self._look_at = self._last_pass = NEVER
        self._probes = 0  # since a person is to mend it
        self._last_whole: float | None = None  # of those that were made their customer, too
        self._refused_wait = False
        self._told: tuple[type, str] | None = None
        self._loud = self._was_halted = False

    def pause(self) -> float:
        """Seconds until the next `probe`."""
        return max(0.0, self._probe_at - self._clock()) if self._key() == self._tried_key else 0.0

    def until_look(self) -> float:
        """Seconds until one is to ask again whether there is a `pause`."""
        return min(self.pause(), PROBE_INTERVAL)

    def _changed(self) -> None:
        """Under the lock: any of the three has been set."""
        self.halted = self._starting or self._bar is not None or self._doubt is not None
        self._probes = self._probes if isinstance(self._bar, Misconfigured) else 0

    def _next_pause(self) -> float:
        """Under the lock: after the attempt that is made now."""
        if not isinstance(self._bar, Misconfigured):
            return PROBE_INTERVAL
        self._probes += 1
        return min(PROBE_INTERVAL * 2.0 ** min(self._probes - 1, 20), self._longest_pause)

    # What settling comes to

    def bar(self, stop: SubkeeperError) -> None:
        """Nothing may settle: Stripe refuses the key, or it can't be told whose key it is."""
        with self._lock:
            self._bar, self._starting = stop, False
            self._changed()
        self._tell()

    def heard(self, ended: Ended, began: float) -> None:
        """The settling of a row began at `began` (by the clock), and ended so. Raises what `refusals` raise."""
        if ended.passed:
            self._last_pass = max(began, self._last_pass)
            self._last_whole = max(began, self._last_whole or began) if ended.whole else self._last_whole
        if ended.refused or (ended.passed and self._refused_wait):
            self._look()

    # What the sweeper does

    def watch(self) -> None:
        """Looks at what other processes were refused, every so often. Raises `Unavailable`, `TryLater`."""
        if self._clock() >= self._look_at:
            self._look()

    def probe(self, settle: Callable[[LeaseT], None]) -> None:
        """One attempt to go on: the preflight, then a single row. Raises `Unavailable`, `TryLater`."""
        self._tried_key = self._key()
        with self._lock:
            self._probe_at = self._clock() + self._next_pause()
            barred = self._bar
        try:
            self._preflight()
        except SubkeeperError as still:
            self.bar(still)
            return
        self._look()
        is_first = self._starting and self._doubt is None  # it needs no try: the first refusal stops the rest
        if not is_first:
            self._try_one(settle)
        with self._lock:
            self._starting = False
            if self._bar is barred:  # the key was not refused anew meanwhile
                self._bar = None
            self._changed()
        self._tell()

    def _try_one(self, settle: Callable[[LeaseT], None]) -> None:
        lease = self._refusals.lease_untried(newest=self._newest)
        self._newest = not self._newest
        if lease is None:
            self._exhausted = self._doubt is not None
            lease = self._refusals.lease_refused()
        if lease is not None:
            settle(lease)

    # What the database says

    def _look(self) -> None:
        """Reads what was refused while nobody passed; what our last pass has settled is released first."""
        with self._lock:
            self._look_at = self._clock() + PROBE_INTERVAL
            refusals = self._refusals.refusals()
            passed = self._last_pass > NEVER
            if refusals and passed and self._refusals.release_refused(self._last_pass, self._last_whole):
                refusals = self._refusals.refusals()
            self._refused_wait = bool(refusals)
            before, self._doubt = self._doubt, in_doubt(refusals)
            self._changed()
            if before is None and self._doubt is not None:
                self._doubted_since, self._exhausted, self._newest = self._clock(), False, True
                self._log.warning("settling.doubted", users=self._doubt.users, reason=self._doubt.what)
        self._tell()

    # What is said of it

    def _tell(self) -> None:
        with self._lock:
            if self._starting:
                return
            reason, halted = self._reason(), self.halted
            told, self._told = self._told, (type(reason), str(reason))
            if told != self._told:
                self._report(reason)
            was_loud, self._loud = self._loud, halted and isinstance(reason, Misconfigured)
            was_halted, self._was_halted = self._was_halted, halted
        if self._loud and not was_loud:
            self._log.error("settling.halted", reason=str(reason))
        if was_halted and not halted:
            self._log.info("settling.resumed")

    def _reason(self) -> SubkeeperError | None:
        """Why things aren't well; None: they are."""
        if self._bar is not None:
            return self._bar
        problem = self._shared_problem()
        if problem is not None or self._doubt is None:
            return problem
        said = f"{self._doubt.users} users were refused alike and nobody passed since: {self._doubt.what}"
        if self._exhausted or self._clock() - self._doubted_since >= HALTED_AFTER:
            return Misconfigured(
                "stripe", said, "Mend what is refused; nobody is blamed, and all go on once one passes"
            )
        return InDoubt(said)

"""What the poller says of itself: a part of `/readyz`, metrics, and lines of the log, each told once."""

from __future__ import annotations

import structlog

from worker.domain.polling import Pace
from worker.errors import AccessRefused, Misconfigured, Rejected, SubkeeperError, TryLater, Unavailable
from worker.store.event_cursor import Standing
from worker.telemetry import Health
from worker.telemetry.polls import Polls

PART = "poller"
HEALED_BY = "subkeeper verify --repair"

BLIPS = 2
"""So many polls in a row may fail by what time mends before the process counts as unready for it."""


class AllotmentSpent(TryLater):
    """The month's reads that polls may make are made."""

    def __init__(self) -> None:
        super().__init__("the reads that polls may make this month (stripe.monthly_reads) are spent")


class Voice:
    """One thread's."""

    def __init__(self, health: Health, polls: Polls) -> None:
        self._health = health
        self._polls = polls
        self._gap = ""
        self._blips = 0
        self._lost_sight = False
        self._is_well = False
        self._doing = "the first poll has not ended yet"

    def standing(self, standing: Standing) -> None:
        """The leader has read the row."""
        had = self._gap
        self._tell_gap(standing)
        if self._lost_sight or (self._is_well and self._gap != had):
            self._lost_sight = False
            self._say(self._doing)

    def _tell_gap(self, standing: Standing) -> None:
        had, self._gap = self._gap, ""
        if standing.gap_from and standing.gap_to:
            since, until = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (standing.gap_from, standing.gap_to))
            self._gap = f"events from {since} to {until} can't be had any more: run `{HEALED_BY}`"
            if not had:
                structlog.get_logger().error("events.missed", since=since, until=until, fix=HEALED_BY)

    def leads(self, standing: Standing | None) -> None:
        """This process polls from now on. `standing`: what the row said before, if it was there."""
        behind = standing and round(standing.behind.total_seconds())
        structlog.get_logger().info("polling.begun", behind=behind)
        if standing is not None and standing.poll_at is not None and standing.poll_at > standing.now:
            self._doing = f"polls next in {(standing.poll_at - standing.now).total_seconds():.0f} s"
        self._say(self._doing)

    def lost(self) -> None:
        """Another process took over."""
        structlog.get_logger().warning("polling.lost")
        self.waits_for_leader()

    def waits_for_leader(self) -> None:
        self._say("another process polls; this one takes over from it")

    def polled(self, standing: Standing, pace: Pace) -> None:
        self._blips = 0
        allotment = standing.allotment
        interval = pace.interval(allotment, standing.now).total_seconds()
        self._doing = (
            f"polls every {interval:.0f} s; {allotment.polls} of {allotment.most} reads of this month are made"
        )
        self._say(self._doing)

    def published(self, new: int, again: int) -> None:
        self._polls.event("published", new)
        self._polls.event("published_again", again)
        self._say(self._doing)

    def refused(self, event_id: str | None, event_type: str, refusal: Rejected) -> None:
        self._polls.event("refused")
        structlog.get_logger().error(
            "event.refused", event_id=event_id, type=event_type, reason=refusal.reason, detail=refusal.detail
        )

    def cannot_publish(self, reason: str | Unavailable) -> None:
        """Stripe keeps what can't be published now: nothing is lost by waiting."""
        if isinstance(reason, Unavailable):
            self.failed(reason, polling=True)
        else:
            self._say(f"waits: {reason}")

    def failed(self, error: SubkeeperError, *, polling: bool) -> None:
        """A poll broke off; or, between two, the row can't be had."""
        self._blips += 1
        if isinstance(error, TryLater) and not isinstance(error, AllotmentSpent) and self._blips <= BLIPS:
            return
        self._lost_sight, self._is_well = not polling, False
        failing = isinstance(error, (Misconfigured, AccessRefused))
        detail = "; ".join(filter(None, [self._gap, str(error)]))
        self._health.set(PART, ok=False, detail=detail, failing=failing, kind=type(error).__name__)

    def _say(self, doing: str) -> None:
        self._is_well = True
        self._health.set(PART, ok=True, detail="; ".join(filter(None, [self._gap, doing])))

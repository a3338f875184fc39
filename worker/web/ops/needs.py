"""What needs a person, of what the picture shows, by the same bounds as the alerts have (docs/prometheus/rules.yml)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from worker.domain.lanes import Lane
from worker.domain.text import span
from worker.store.event_cursor import Standing
from worker.store.provisioning.backlog import QueueState
from worker.telemetry.health import STARTING
from worker.web.ops.picture import Picture, Process, Profiles, Quarantine, Work

DOCTOR = "subkeeper doctor"

_SEE = {"erasures": "A user waits to be erased"}
"""Where a part has a heading of its own."""

LATE_SECONDS = 300.0
BEHIND_SECONDS, LEAST_DAYS = 7200.0, 20.0


class Need(NamedTuple):
    """`command`: what mends it, or tells more; `then`: when another one follows, and which. `see`: its heading in
    docs/operations.md."""

    what: str
    command: str
    see: str
    then: tuple[str, str] | None = None


def needs(picture: Picture) -> list[Need]:
    """The most urgent first. What isn't known needs nobody: that it isn't is told beside it."""
    return [*_of_process(picture), *_of_ledger(picture), *_of_events(picture), *_of_work(picture.work.value)]


def _of_process(picture: Picture) -> Iterator[Need]:
    """As `/healthz` and `/readyz` of the process that shows this."""
    for reason in picture.reasons:
        yield Need(reason, DOCTOR, "Settling is halted" if reason.startswith("stripe:") else "Alerts")
    for part, condition in picture.parts.items():
        if not (condition.ok or condition.failing or condition.kind == STARTING):
            yield Need(f"{part}: {condition.detail}", DOCTOR, _SEE.get(part, "Alerts"))


def _of_ledger(picture: Picture) -> Iterator[Need]:
    profiles, quarantine = picture.profiles.value, picture.quarantine.value
    if profiles is not None:
        yield from _of_profiles(profiles)
        yield from _of_processes(profiles.queues, picture.processes.value)
    if quarantine is not None:
        yield from _of_quarantine(quarantine)


def _of_profiles(profiles: Profiles) -> Iterator[Need]:
    if profiles.in_doubt is not None:
        yield Need(profiles.in_doubt, "subkeeper provisioning list", "Settling is halted")
    lanes = profiles.queues.lanes
    oldest = max((lanes[lane].age for lane in (Lane.LIVE, Lane.RETRY) if lane in lanes), default=0.0)
    if oldest > LATE_SECONDS:
        what = f"somebody has waited for a subscription for {span(oldest)}"
        yield Need(what, "subkeeper provisioning list --older-than 5m", "Profiles wait")
    unopenable = sum(each.unopenable or 0 for each in lanes.values())
    if unopenable:
        what = f"{counted(unopenable, 'profile')} sealed under a key that this process does not have"
        lost = ("if that key is lost for good", "subkeeper quarantine unopenable")
        yield Need(what, DOCTOR, "Profiles wait for a key", lost)


def _of_processes(queues: QueueState, processes: Sequence[Process] | None) -> Iterator[Need]:
    is_waiting = any(each.depth for each in queues.lanes.values())
    if is_waiting and processes is not None and not any(each.claim.lives for each in processes):
        yield Need("profiles wait, and no process that asks Stripe lives", "subkeeper run profiles", "Profiles wait")


def _of_quarantine(quarantine: Quarantine) -> Iterator[Need]:
    for each in quarantine.totals:
        chosen = f"--kind {each.kind.value} --reason {shlex.quote(each.reason)}"
        what = f"{counted(each.count, each.kind.value)} in quarantine: {each.reason}"
        then = ("once the cause is mended", f"subkeeper quarantine retry {chosen}")
        yield Need(what, f"subkeeper quarantine list {chosen}", "Quarantine grows", then)


def _of_events(picture: Picture) -> Iterator[Need]:
    if (standing := picture.standing.value) is not None:
        yield from _of_standing(standing)
    outcomes = picture.events.value.outcomes if picture.events.value is not None else {}
    told = {
        "conflicting": ("a customer made elsewhere names a user who has another one", "subkeeper verify"),
        "wrong_mode": ("test events reach the live deployment, or live ones the test's", "subkeeper events list"),
    }
    for outcome, (what, command) in told.items():
        if count := outcomes.get(outcome, 0):
            yield Need(f"{counted(count, 'event')} {outcome}: {what}", command, "Rows may be wrong")


def _of_standing(standing: Standing) -> Iterator[Need]:
    if standing.gap:
        what = f"Stripe no longer has events that were missed, of {span(standing.gap.total_seconds())}"
        yield Need(what, "subkeeper verify --repair", "Events are gone")
    if standing.behind.total_seconds() > BEHIND_SECONDS:
        what = (
            f"for {span(standing.behind.total_seconds())} it isn't known whether all of Stripe's events are processed"
        )
        days = standing.left.total_seconds() / 86_400
        urgent = f"; {days:.0f} days are left to have them" if days < LEAST_DAYS else ""
        yield Need(what + urgent, "subkeeper run poller", "Events are behind")


def _of_work(work: Work | None) -> Iterator[Need]:
    if work is None:
        return
    if work.changes is not None and work.changes.oldest > LATE_SECONDS:
        what = f"other services have not heard of a change for {span(work.changes.oldest)}"
        yield Need(what, "subkeeper run relay", "Changes wait")
    if work.changes is not None and work.changes.refused:
        what = f"nsqd refuses {counted(work.changes.refused, 'change')} for its size"
        yield Need(what, "subkeeper config check", "Changes wait")
    if work.refreshes is not None and work.refreshes.oldest > LATE_SECONDS:
        what = f"a subscription could not be fetched from Stripe for {span(work.refreshes.oldest)}"
        yield Need(what, DOCTOR, "Rows may be wrong")
    if work.refreshes is not None and work.refreshes.aside:
        what = f"Stripe has no such subscription: {work.refreshes.aside} set aside"
        yield Need(what, "subkeeper verify", "Rows may be wrong")
    if work.account_changes.oldest > LATE_SECONDS:
        what = f"a change that was asked for has not ended for {span(work.account_changes.oldest)}"
        yield Need(what, "subkeeper run web", "The API")
    if work.account_changes.unopenable:
        what = (
            f"{counted(work.account_changes.unopenable, 'account change')} sealed under a key that this process lacks"
        )
        lost = ("if that key is lost for good", "subkeeper quarantine unopenable")
        yield Need(what, DOCTOR, "Profiles wait for a key", lost)


def counted(count: int, noun: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

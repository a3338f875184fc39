"""What a soak came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `acts` at Stripe; `events` by what became of them. `untold`: rows of which not every version was
    told, once each; `misheard`: those that a reader of changes has otherwise (nsqd loses what it has in hand when it is
    killed: one message a kill, where nobody reads). Recovery: seconds until each was served who was not yet when the
    last fault ended, from then (from the replay, for those whom only it brought)."""

    seed: int
    profiles: int
    processes: int
    seconds_under_fire: float
    seconds_until_settled: float
    faults: int
    faults_by_kind: dict[str, int]
    lost: list[str]
    duplicated: list[str]
    unexpected: list[str]
    acts: dict[str, int]
    events: dict[str, int]
    changes: int
    drift: list[str]
    untold: list[str]
    misheard: list[str]
    kills_of_nsqd: int
    poison_kept: int
    poison_sent: int
    unserved_at_the_end: int
    recovery_p50: float
    recovery_p99: float
    recovery_worst: float
    leaks: list[str]
    crashes: list[str]


def wrong(report: Report) -> tuple[object, ...]:
    """Each is to be empty."""
    misheard = len(report.misheard) > report.kills_of_nsqd and report.misheard
    count = report.lost, report.duplicated, report.unexpected
    return *count, report.drift, report.untold, misheard, report.leaks, report.crashes


def sentence(report: Report) -> str:
    return (
        f"seed {report.seed}: {report.profiles} profiles, {sum(report.acts.values())} acts at Stripe,"
        f" {sum(report.events.values())} events, {report.changes} changes,"
        f" {report.faults} faults in {report.seconds_under_fire:.0f} s;"
        f" lost {len(report.lost)}, duplicated {len(report.duplicated)}, unexpected {len(report.unexpected)},"
        f" drift {len(report.drift)}, untold {len(report.untold)}, misheard {len(report.misheard)},"
        f" leaks {len(report.leaks)}, crashes {len(report.crashes)};"
        f" {report.unserved_at_the_end} were unserved at the last fault's end, served within"
        f" {report.recovery_p50} s (p50), {report.recovery_p99} s (p99)\n"
    )

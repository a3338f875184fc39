"""The mixed soak: `python -m tests.faults.soak --profiles 20000 --minutes 10 --seed 1 --json`.

Three processes do everything (`run all`) while faults of every kind hit them and all that they talk to. At first
profiles are published, and those who are subscribed already get cards, cancel, think again. Then everything heals, and
the source publishes all it has once more (what a killed nsqd had handed out is gone with it). With everybody served,
days pass at Stripe, under faults again: trials end, payments fail, are tried again, and given up. All the time Stripe's
events are delivered twice, late, in disorder or never.

The count in the end is held against Stripe and every table: lost, duplicated and unexpected are to be 0; every row is
to be as Stripe has it (drift 0), every version of it to be told once, and a reader that keeps the highest one to have
the row.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import LiteralString

import structlog

from sandbox import binaries
from tests.faults.lives import DAYS
from tests.faults.mayhem import Mayhem
from tests.faults.retelling import misheard, untold
from tests.faults.servers import STRIPE_KEY
from tests.faults.soak_field import LISTENER, PROCESSES, SoakField, soak_field
from tests.faults.soak_report import Report, sentence, wrong
from tests.faults.tally import tally
from tests.support.drift import drift
from tests.support.stack import SECRET_KEY

FAULTS_PER_SECOND = 1.0
DAYS_SHARE = 0.35
"""Of the time under fire, and of the faults: while days pass."""

PATIENCE = 240.0
"""Seconds after the last fault until whoever is not served counts as lost."""

CRASHES = ('"thread.crashed"', '"settling.crashed"', '"refresh.crashed"', '"event.unforeseen"', "Traceback")
SECRETS = ("planted-", "planted person", "person.example", STRIPE_KEY, SECRET_KEY)


def soak(profiles: int, seconds: float, faults: int, seed: int, directory: Path) -> Report:
    """Runs it, with all that it needs in `directory` and in a workspace of its own."""
    rng = random.Random(seed)
    later, faults_later = seconds * DAYS_SHARE, round(faults * DAYS_SHARE)
    with soak_field(directory, profiles, (seconds - later) * 0.9, rng) as field:
        began = time.monotonic()
        field.traffic.start()
        field.lives.start()
        mayhem = Mayhem(field, rng)
        mayhem.run(faults - faults_later, seconds - later)
        healed, under_fire = time.time(), time.monotonic() - began
        field.traffic.join()
        field.traffic.source.replay()
        _await_all(field, profiles)
        recovery = _recovery(field, healed)
        under_fire += _let_days_pass(field, mayhem, faults_later, later)
        field.lives.stop()
        _come_to_rest(field)
        settled = time.monotonic() - began
        count = tally(field.stack, dict.fromkeys(field.traffic.source.profiles, "completed"), with_ended=True)
        return Report(
            seed=seed,
            profiles=len(field.traffic.source.profiles),
            processes=PROCESSES,
            seconds_under_fire=round(under_fire, 1),
            seconds_until_settled=round(settled, 1),
            faults=mayhem.counts.total(),
            faults_by_kind=dict(sorted(mayhem.counts.items())),
            lost=count.lost,
            duplicated=count.duplicated,
            unexpected=count.unexpected,
            acts=dict(sorted(field.lives.acts.items())),
            events=_events(field),
            changes=_number(field, "SELECT count(*) AS n FROM subscription_changes"),
            drift=_verified(field),
            untold=untold(field.stack),
            misheard=misheard(field.stack, LISTENER),
            kills_of_nsqd=mayhem.counts["nsqd_killed"],
            poison_kept=_number(field, "SELECT count(DISTINCT body_digest) AS n FROM quarantined_messages"),
            poison_sent=len(field.traffic.poison),
            unserved_at_the_end=len(recovery),
            recovery_p50=_percentile(recovery, 0.50),
            recovery_p99=_percentile(recovery, 0.99),
            recovery_worst=_percentile(recovery, 1.0),
            leaks=list(_leaks(field)),
            crashes=list(_crashes(field)),
        )


def _let_days_pass(field: SoakField, mayhem: Mayhem, faults: int, seconds: float) -> float:
    """Under fire, day by day; for how many seconds it was. Stripe forgets its keys meanwhile, but nothing is asked of
    it under one any more."""
    began = time.monotonic()
    for days in DAYS:
        field.stack.control.jump(days.total_seconds())
        mayhem.run(round(faults / len(DAYS)), seconds / len(DAYS))
    return time.monotonic() - began


def _come_to_rest(field: SoakField) -> None:
    """Other processes take over, so that what a killed nsqd had in hand is published again at once, not in ten minutes;
    then returns when nothing differs, or when patience is over (the count then tells)."""
    for number, worker in enumerate(field.workers):
        worker.send(signal.SIGTERM)
        field.workers[number] = field.new_worker(number)
    field.traffic.source.send(sorted(field.traffic.poison))  # nsqd loses poison as it loses anything else
    deadline = time.monotonic() + PATIENCE
    waiting = "SELECT count(*) AS n FROM subscription_changes WHERE sent_at IS NULL"
    while time.monotonic() < deadline and (drift(field.stack) or _number(field, waiting) or not _is_drained(field)):
        time.sleep(0.5)


def _is_drained(field: SoakField) -> bool:
    return field.stack.is_drained() and field.stack.is_drained(field.stack.events_topic)


def _verified(field: SoakField) -> list[str]:
    """What `subkeeper verify` finds."""
    verifying = field.stack.spawn("verify", "--json")
    code = verifying.wait(120)
    found = [json.dumps(each) for each in verifying.parsed if each["kind"] != "summary"]
    return found or ([] if code == 0 else [verifying.text[-2000:]])


def _events(field: SoakField) -> dict[str, int]:
    query = "SELECT source, outcome, count(*) AS n FROM processed_stripe_events GROUP BY 1, 2 ORDER BY 1, 2"
    return {f"{row['outcome']} by {row['source']}": row["n"] for row in field.stack.rows(query)}


def _number(field: SoakField, query: LiteralString) -> int:
    found: int = field.stack.rows(query)[0]["n"]
    return found


def _await_all(field: SoakField, profiles: int) -> None:
    """Returns when everybody is served and the channel is empty, or when patience is over (the tally then tells)."""
    deadline = time.monotonic() + PATIENCE
    query: LiteralString = "SELECT count(*) AS n FROM provisionings WHERE state = 'completed'"
    while time.monotonic() < deadline:
        if _number(field, query) >= profiles and field.stack.is_drained():
            return
        time.sleep(0.2)


def _recovery(field: SoakField, healed: float) -> list[float]:
    """Seconds from `healed` (Unix time; Postgres runs by the same clock) to each later completion, in order.

    For users that were first seen after their replay (nsqd had lost them), from the replay.
    """
    query = (
        "SELECT user_id, extract(epoch FROM first_seen_at)::float AS seen, extract(epoch FROM completed_at)::float AS"
        " completed FROM provisionings WHERE completed_at > to_timestamp(%s)"
    )
    replayed = field.traffic.source.replayed
    return sorted(
        row["completed"] - (healed if row["seen"] < replayed[row["user_id"]] else replayed[row["user_id"]])
        for row in field.stack.rows(query, healed)
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 2) if ordered else 0.0


def _leaks(field: SoakField) -> Iterator[str]:
    """Lines of any log, or of a dump of the completed database, that hold a planted word: where, and which word."""
    words = [word.lower() for word in SECRETS]
    words += [word.encode().hex() for word in (*SECRETS, "Planted Person")]
    for log in field.logs():
        with log.open(errors="replace") as lines:
            yield from (f"{log.name}: {word}" for line in lines for word in words if word in line.lower())
    command = [str(binaries.postgres() / "pg_dump"), "--inserts", f"--dbname={field.stack.database_url}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dump:
        assert dump.stdout is not None
        yield from (f"pg_dump: {word}" for line in dump.stdout for word in words if word in line.lower())
    assert dump.returncode == 0, "pg_dump failed"


def _crashes(field: SoakField) -> Iterator[str]:
    """What a worker did not foresee: a thread that died, a row that crashed its settling, a traceback."""
    for log in field.directory.glob("*.log"):
        with log.open(errors="replace") as lines:
            for line in lines:
                if any(word in line for word in CRASHES):
                    yield f"{log.name}: {line.strip()[:1500]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--faults", type=int, default=None, help="one per second if not given")
    parser.add_argument("--seed", type=int, default=None, help="a new one if not given")
    parser.add_argument("--json", action="store_true", help="the whole report as JSON")
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is the report's
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    faults = given.faults or math.ceil(given.minutes * 60 * FAULTS_PER_SECOND)
    with tempfile.TemporaryDirectory() as directory:
        report = soak(given.profiles, given.minutes * 60, faults, seed, Path(directory))
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n" if given.json else sentence(report))
    return 1 if any(wrong(report)) else 0


if __name__ == "__main__":
    sys.exit(main())

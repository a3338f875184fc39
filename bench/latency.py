"""Latency: from publish to the commit that completes a profile, less the time that Stripe had its requests.

Measured as the demo does (`sandbox.demo`): by the publisher's clock, the time at which Postgres committed, and
Stripe's own log; nothing is left out, the first profiles neither. Postgres commits to a disk; nsqd once fsyncs each
message there, once keeps them in memory as it does by default. (The demo keeps both in memory.)
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from bench.bench import Bench, Figures, ratio, say, summary
from bench.meter import Meter
from bench.site import UNLIMITED, Site, wait_until
from bench.stand import IN_MEMORY, ON_DISK_SYNCED, Stand
from sandbox.demo.stage import STRIPE_LATENCY
from sandbox.demo.traffic import Traffic
from sandbox.demo.verdict import Expected, Provisioned, provisioned
from sandbox.part import Part
from worker.broker.publisher import Publisher
from worker.store import overview
from worker.store.engine.database import Database


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` of profiles at `pace` a second, in each of `rounds`."""

    seconds: float = 30.0
    pace: float = 20.0
    rounds: int = 5


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    """The worker and the bare chain in turn, a round of each after the other."""
    figures: Figures = {"nsqd_on_disk_fsync_each": _worker(stand, sizes, rng, ON_DISK_SYNCED)}
    sides: dict[str, list[Figures]] = {"nsqd_in_memory": [], "bare_chain": []}
    for _ in range(sizes.rounds):
        sides["nsqd_in_memory"].append(_worker(stand, sizes, rng, IN_MEMORY))
        sides["bare_chain"].append(_bare_chain(stand, sizes, rng))
    ours, bare = (
        {rank: summary([each["overhead_ms"][rank] for each in rounds], 1) for rank in ("p50", "p99")}
        for rounds in sides.values()
    )
    return figures | sides | {f"{rank}_of_bare_chain": ratio(ours[rank], bare[rank]) for rank in ("p50", "p99")}


def _worker(stand: Stand, sizes: Sizes, rng: random.Random, flags: Sequence[str]) -> Figures:
    with stand.site(rng, flags) as site, site.worker(UNLIMITED) as worker:
        return measured(site, worker, sizes.seconds, sizes.pace, rng)


def _bare_chain(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng, IN_MEMORY) as site, site.bare_chain() as process:
        return measured(site, process.pid, sizes.seconds, sizes.pace, rng)


def measured(site: Site, process: Part | int, seconds: float, pace: float, rng: random.Random) -> Figures:
    """What `seconds` of signups at `pace` a second come to, by a worker that is up."""
    traffic = Traffic(round(seconds * pace), pace, chaos=False, rng=rng)
    site.control.latency(**STRIPE_LATENCY)
    meter = Meter({"worker": process, "postgres": site.postgres, "stripe": site.stripe, "nsqd": site.nsqd})
    began = time.monotonic()
    publish(site, traffic, rng)
    wait_until(lambda: len(site.completed("user-")) >= len(traffic.sent), 60, "every profile settled", 0.5)
    busy = meter.percent()
    verdict = judged(site, traffic, time.monotonic() - began)
    say(f"latency: less Stripe's time {verdict.overhead_ms}")
    return {
        "overhead_ms": asdict(verdict.overhead_ms),
        "publish_to_persisted_ms": asdict(verdict.publish_to_persisted_ms),
        "profiles": verdict.profiles,
        "missing": verdict.missing,
        "duplicates": verdict.duplicates,
        "cpu_percent_of_a_core": busy,
    }


def publish(site: Site, traffic: Traffic, rng: random.Random) -> None:
    """Live signups, in their own time."""
    publisher = Publisher(site.settings.nsq, rng=rng)
    try:
        traffic.publish(lambda body: publisher.publish(site.settings.nsq.profile_topic, [body]), time.sleep)
    finally:
        publisher.close()


def judged(site: Site, traffic: Traffic, seconds: float) -> Provisioned:
    """What became of `traffic` in so many seconds."""
    settings = site.settings
    expected = Expected(settings.plans[settings.pending_plan].lookup_key, timedelta(days=settings.trial.days))
    state, requests = site.control.state(), site.control.requests()
    return provisioned(traffic.sent, accounts(site), state, requests, expected, seconds=seconds)


def accounts(site: Site) -> list[overview.Account]:
    """Every account of the site, with the time at which it was committed."""
    database = Database(site.settings.database, application_name="subkeeper bench")
    try:
        with database.transaction() as tx:
            return overview.accounts(tx)
    finally:
        database.close()


BENCH = Bench("latency", Sizes(), Sizes(seconds=0.5, rounds=1), measure)

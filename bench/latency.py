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

from bench.bench import Bench, Figures, say
from bench.meter import Meter
from bench.site import UNLIMITED, Site, wait_until
from bench.stand import IN_MEMORY, ON_DISK_SYNCED, Stand
from sandbox.demo.show import STRIPE_LATENCY
from sandbox.demo.traffic import Traffic
from sandbox.demo.verdict import Expected, Verdict, judge
from worker.broker.publisher import Publisher
from worker.store import overview
from worker.store.engine.database import Database


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` of profiles at `pace` a second."""

    seconds: float = 30.0
    pace: float = 20.0


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    sides = {"nsqd_on_disk_fsync_each": ON_DISK_SYNCED, "nsqd_in_memory": IN_MEMORY}
    return {side: _side(stand, sizes, rng, flags) for side, flags in sides.items()}


def _side(stand: Stand, sizes: Sizes, rng: random.Random, flags: Sequence[str]) -> Figures:
    traffic = Traffic(round(sizes.seconds * sizes.pace), sizes.pace, chaos=False, rng=rng)
    with stand.site(rng, flags) as site:
        site.control.latency(**STRIPE_LATENCY)
        with site.worker(UNLIMITED) as worker:
            meter = Meter({"worker": worker, "postgres": site.postgres, "stripe": site.stripe, "nsqd": site.nsqd})
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


def judged(site: Site, traffic: Traffic, seconds: float) -> Verdict:
    """What became of `traffic` in so many seconds."""
    settings = site.settings
    expected = Expected(settings.plans[settings.pending_plan].lookup_key, timedelta(days=settings.trial.days))
    state, requests = site.control.state(), site.control.requests()
    return judge(traffic.sent, accounts(site), state, requests, expected, seconds=seconds, seed=0)


def accounts(site: Site) -> list[overview.Account]:
    """Every account of the site, with the time at which it was committed."""
    database = Database(site.settings.database, application_name="subkeeper bench")
    try:
        with database.transaction() as tx:
            return overview.accounts(tx)
    finally:
        database.close()


BENCH = Bench("latency", Sizes(), Sizes(seconds=0.5), measure)

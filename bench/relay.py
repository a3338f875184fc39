"""The relay: from a change of a subscription to nsqd, what a backlog takes, and what an idle relay costs.

A change's time is that of its transaction's beginning, by Postgres's clock; nsqd's is that in its message. Both are of
this machine. nsqd keeps its messages in memory, as by default: one that fsyncs each is what stops a backlog.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from bench.bench import Bench, Figures, say
from bench.meter import Meter
from bench.site import Site, wait_until
from bench.stand import IN_MEMORY, Stand
from worker.broker.reader import Reader

CHANNEL = "bench"

_ADD = """
    INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, before, after, cause)
    SELECT 'user-' || n, 'sub_1SxYzAbCdEfGhIjKlMnOpQrS', 2, %s, %s, 'customer.subscription.updated'
    FROM generate_series(1, %s) n
"""

_ROW = json.dumps(
    {
        "plan": "pending",
        "stripe_subscription_status": "trialing",
        "canceling": False,
        **dict.fromkeys(("trial_start", "period_start"), "2026-11-20T21:39:00+00:00"),
        **dict.fromkeys(("trial_end", "period_end"), "2026-12-21T21:39:00+00:00"),
        **dict.fromkeys(("canceled_at", "ended_at")),
    }
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` of single changes at `pace` a second, at random moments; then `backlog` changes at once; before both,
    `idle` seconds without any."""

    seconds: float = 20.0
    pace: float = 20.0
    backlog: int = 50_000
    idle: float = 15.0


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng, IN_MEMORY) as site, _relay(site) as pid:
        figures = _measured(site, pid, sizes, rng)
    say(f"relay: {figures}")
    return figures


def _measured(site: Site, pid: int, sizes: Sizes, rng: random.Random) -> Figures:
    meter = Meter({"relay": pid, "postgres": site.postgres})
    time.sleep(sizes.idle)
    idle = meter.percent()
    site.execute("TRUNCATE subscription_changes")
    for _ in range(round(sizes.seconds * sizes.pace)):
        time.sleep(rng.expovariate(sizes.pace))
        site.execute(_ADD, _ROW, _ROW, 1)
    delays = _delays(site, rng)
    site.execute("TRUNCATE subscription_changes")
    site.execute(_ADD, _ROW, _ROW, sizes.backlog)
    _await_sent(site)
    [(seconds,)] = site.execute(
        "SELECT CAST(extract(epoch FROM max(sent_at) - min(sent_at)) AS double precision) FROM subscription_changes"
    )
    return {
        "change_to_published_ms": {
            "p50": round(median(delays), 1),
            "p99": round(delays[int(0.99 * len(delays))], 1),
            "slowest": round(delays[-1], 1),
        },
        "backlog_per_second": round(sizes.backlog / seconds) if seconds else None,
        "idle_cpu_percent_of_a_core": idle,
    }


def _delays(site: Site, rng: random.Random) -> Sequence[float]:
    """Milliseconds from each change to nsqd, the shortest first."""
    _await_sent(site)
    made: dict[int, datetime] = dict(site.execute("SELECT id, created_at FROM subscription_changes"))
    settings = site.settings.nsq.model_copy(update={"channel": CHANNEL})
    reader = Reader(settings, {settings.changes_topic: 1}, rng=rng)
    delays: dict[int, float] = {}
    while delays.keys() < made.keys():
        messages = reader.read(500, 1.0)
        for message in messages:
            change = json.loads(message.body)["id"]
            if change in made:
                delays[change] = 1000 * (message.published_at - made[change]).total_seconds()
        reader.finish(messages)
    reader.close(1.0)
    return sorted(delays.values())


def _await_sent(site: Site) -> None:
    unsent = "SELECT 1 FROM subscription_changes WHERE sent_at IS NULL LIMIT 1"
    wait_until(lambda: not site.execute(unsent), 120, "every change is sent")


@contextmanager
def _relay(site: Site) -> Iterator[int]:
    """The process id of a relay that has published something."""
    site.nsqd.create_channel(site.settings.nsq.changes_topic, CHANNEL)
    process = site.spawn("run", "relay")
    try:
        site.execute(_ADD, _ROW, _ROW, 1)
        _await_sent(site)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


BENCH = Bench("relay", Sizes(), Sizes(seconds=0.5, backlog=100, idle=0.2), measure)

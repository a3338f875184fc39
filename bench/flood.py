"""Flood: how long a signup takes while Stripe's events flood the same process, beside the same with none.

One process does everything (`run all`): what must not happen there happens between processes all the less. The flood is
paced: at full speed it would take the cores themselves, which no order of work can give back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.bench import Bench, Figures, ratio, say, summary
from bench.events import arrange, changing
from bench.latency import measured
from bench.site import UNLIMITED, Site
from bench.stand import IN_MEMORY, Stand
from worker.broker.publisher import Publisher
from worker.events.envelope import Envelopes
from worker.sealing import Sealer

EVERY = 0.05
"""Seconds between two publications of the flood."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` of signups at `pace` a second in each of `rounds`, beside `events` a second that change rows."""

    seconds: float = 30.0
    pace: float = 20.0
    events: int = 1_000
    subscriptions: int = 2_000
    rounds: int = 5


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    sides: dict[str, list[Figures]] = {"alone": [], "beside_a_flood": []}
    for number in range(sizes.rounds):
        for name in sorted(sides, reverse=number % 2 == 1):  # neither is always the first
            sides[name].append(_signups(stand, sizes, rng, events=0 if name == "alone" else sizes.events))
            say(f"flood, round {number + 1}, {name}: {sides[name][-1]}")
    figures: Figures = dict(sides)
    for rank in ("p50", "p99"):
        alone, beside = (summary([each["overhead_ms"][rank] for each in side], 1) for side in sides.values())
        figures[f"{rank}_of_alone"] = ratio(beside, alone)
    return figures


def _signups(stand: Stand, sizes: Sizes, rng: random.Random, events: int) -> Figures:
    with stand.site(rng, IN_MEMORY) as site:
        arrange(site, sizes.subscriptions)
        bodies = _sealed(site, round(events * sizes.seconds), sizes.subscriptions)
        with site.web(UNLIMITED, "all") as worker, _flood(site, bodies, events, rng):
            figures = measured(site, worker, sizes.seconds, sizes.pace, rng)
            taken = site.execute("SELECT count(*) FROM processed_stripe_events WHERE outcome = 'applied'")[0][0]
    return figures | {"events_applied": taken, "events_published": len(bodies)}


def _sealed(site: Site, count: int, subscriptions: int) -> Sequence[bytes]:
    seal = Envelopes(Sealer(site.settings.secret_keys())).seal
    return [seal(each) for each in changing("evt_flood", count, subscriptions)]


@contextmanager
def _flood(site: Site, bodies: Sequence[bytes], per_second: int, rng: random.Random) -> Iterator[None]:
    """Publishes these in their time beside the block, and stops with it."""
    over = threading.Event()
    group = max(1, round(per_second * EVERY))

    def publish() -> None:
        publisher, began = Publisher(site.settings.nsq, rng=random.Random(rng.random())), time.monotonic()
        for start in range(0, len(bodies), group):
            if over.wait(max(0.0, began + start / per_second - time.monotonic())):
                break
            publisher.publish(site.settings.nsq.events_topic, bodies[start : start + group])
        publisher.close()

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


BENCH = Bench("flood", Sizes(), Sizes(seconds=0.5, events=200, subscriptions=50, rounds=1), measure)

"""Flood: how long a signup takes while Stripe's events flood the same process, beside the same with none; and how long
the API takes to tell of a user beside both, and alone.

One process does everything (`run all`): what must not happen there happens between processes all the less. The flood is
paced: at full speed it would take the cores themselves, which no order of work can give back.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.bench import Bench, Figures, ratio, say, summary
from bench.events import arrange, changing
from bench.latency import measured
from bench.messages import profiles
from bench.site import UNLIMITED, Site, wait_until
from bench.stand import IN_MEMORY, Stand
from sandbox.demo.verdict import percentiles
from worker.accounts.tokens import NewToken, new_token
from worker.broker.publisher import Publisher
from worker.events.envelope import Envelopes
from worker.sealing import Sealer

EVERY = 0.05
"""Seconds between two publications of the flood."""


KNOWN = "known-"


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` of signups at `pace` a second in each of `rounds`, beside `events` a second that change rows; and
    `reads` a second of one of `known` users."""

    seconds: float = 30.0
    pace: float = 20.0
    events: int = 1_000
    subscriptions: int = 2_000
    reads: float = 50.0
    known: int = 50
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
        reads = [each["reads_ms"] for each in sides["beside_a_flood"]]
        alone, beside = (summary([each[side][rank] for each in reads], 1) for side in ("alone", "beside"))
        figures[f"reads_{rank}_of_alone"] = ratio(beside, alone)
    return figures


def _signups(stand: Stand, sizes: Sizes, rng: random.Random, events: int) -> Figures:
    with stand.site(rng, IN_MEMORY) as site:
        arrange(site, sizes.subscriptions)
        bodies = _sealed(site, round(events * sizes.seconds), sizes.subscriptions)
        token = new_token(rng.randbytes)
        with site.web(UNLIMITED | {"API__ADMIN_TOKENS": token.digest}, "all") as worker:
            site.publish(profiles(KNOWN, sizes.known), rng)
            wait_until(lambda: len(site.completed(KNOWN)) == sizes.known, 60, "the users who are asked for")
            with _reads(worker.web_port, token, sizes) as alone:
                time.sleep(sizes.seconds / 3)
            with _reads(worker.web_port, token, sizes) as beside, _flood(site, bodies, events, rng):
                figures = measured(site, worker, sizes.seconds, sizes.pace, rng)
            taken = site.execute("SELECT count(*) FROM processed_stripe_events WHERE outcome = 'applied'")[0][0]
    reads = {"alone": asdict(percentiles(alone)), "beside": asdict(percentiles(beside))}
    return figures | {"events_applied": taken, "events_published": len(bodies), "reads_ms": reads}


@contextmanager
def _reads(port: int, token: NewToken, sizes: Sizes) -> Iterator[list[float]]:
    """Milliseconds that each read of a user takes beside the block, in their own time."""
    over, took = threading.Event(), list[float]()

    def read() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers, began, number = {"Authorization": f"Bearer {token.token}"}, time.monotonic(), 0
        while not over.wait(max(0.0, began + number / sizes.reads - time.monotonic())):
            sent = time.monotonic()
            connection.request("GET", f"/subscriptions/{KNOWN}{number % sizes.known:08}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            took.append(1000 * (time.monotonic() - sent if answer.status == http.client.OK else float("inf")))
            number += 1
        connection.close()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(30)


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


BENCH = Bench("flood", Sizes(), Sizes(seconds=0.5, events=200, subscriptions=50, known=5, rounds=1), measure)

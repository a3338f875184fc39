"""Backfill: how long a live signup takes while a million old profiles are published again, absorbed and settled."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

from bench.bench import Bench, Figures, say
from bench.latency import accounts, judged, publish
from bench.messages import body
from bench.site import Site, wait_until
from bench.stand import Stand
from sandbox.demo.stage import STRIPE_LATENCY
from sandbox.demo.traffic import Traffic

OLD = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rows` old profiles, none of them known; for `seconds` from their first, live signups at `pace` a second."""

    rows: int = 1_000_000
    seconds: float = 120.0
    pace: float = 5.0


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    """With the settings and limits that a test-mode key has by default, which the backfill alone would use up."""
    figures: Figures = {}
    for name, rows in (("alone", 0), ("behind_a_backfill", sizes.rows)):
        with stand.site(rng) as site:
            figures[name] = _signups(site, sizes, rows, rng)
            say(f"backfill, live signups {name}: {figures[name]}")
    return figures


def _signups(site: Site, sizes: Sizes, rows: int, rng: random.Random) -> Figures:
    site.control.latency(**STRIPE_LATENCY)
    traffic = Traffic(round(sizes.seconds * sizes.pace), sizes.pace, chaos=False, rng=rng)
    with site.worker({}), _backfill(site, rows) as taken:
        began = time.monotonic()
        publish(site, traffic, rng)
        wait_until(lambda: len(site.completed("user-")) >= len(traffic.sent), 60, "every signup settled", 0.5)
        verdict = judged(site, traffic, time.monotonic() - began)
        sent = traffic.sent
        waits = [each.persisted_at - sent[each.user_id].published_at for each in accounts(site) if each.user_id in sent]
        absorbed, settled = site.execute(
            "SELECT count(*), count(*) FILTER (WHERE state = 'completed') FROM provisionings WHERE lane = 2"
        )[0]
    return {
        "publish_to_persisted_ms": asdict(verdict.publish_to_persisted_ms),
        "slowest_ms": round(max(waits) / timedelta(milliseconds=1), 1),
        "overhead_ms": asdict(verdict.overhead_ms),
        "signups": verdict.profiles,
        "missing": verdict.missing,
        "duplicates": verdict.duplicates,
        "backfilled_absorbed": absorbed,
        "backfilled_settled": settled,
        "backfill_published_seconds": taken[0] if taken else None,
    }


@contextmanager
def _backfill(site: Site, rows: int) -> Iterator[list[float]]:
    """`subkeeper backfill` of so many profiles runs beside the block, which it outlives; the list gets its seconds."""
    taken: list[float] = []
    if not rows:
        yield taken
        return
    path, began = _old_profiles(site, rows), time.monotonic()
    command = site.spawn("backfill", str(path))

    def wait() -> None:
        if command.wait() == 0:
            taken.append(round(time.monotonic() - began, 1))

    watch = Thread(target=wait, daemon=True)
    watch.start()
    yield taken
    watch.join(600)


def _old_profiles(site: Site, rows: int) -> Path:
    created_at = datetime.now(UTC) - OLD
    path = site.directory / "profiles.ndjson"
    with path.open("wb") as file:
        file.writelines(body(f"old-{number:08}", created_at) + b"\n" for number in range(rows))
    return path


BENCH = Bench("backfill", Sizes(), Sizes(rows=500, seconds=0.5), measure)

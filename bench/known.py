"""Known events: taking events in with ten million in the dedupe table against none, and dropping a day of it."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.absorbing import Absorbed, consume
from bench.bench import Bench, Figures, ratio, say, summary
from bench.events import arrange, changing, service
from bench.site import Site
from bench.stand import IN_MEMORY, Stand
from worker.domain.event import Event
from worker.events.envelope import Envelopes
from worker.sealing import Sealer
from worker.stripe_api.credentials import API_VERSION

DAYS = 30

_FILL = """
    INSERT INTO processed_stripe_events (stripe_event_id, created, type, object_id, source, outcome)
    SELECT 'evt_known_' || n, CAST(%s AS timestamptz) - n * CAST(%s AS interval), 'customer.updated', 'cus_' || n,
        'poll', 'recorded'
    FROM generate_series(0, %s - 1) n
"""

_PAST_DAY = (
    "CREATE TABLE processed_stripe_events_{day:%Y%m%d} (LIKE processed_stripe_events INCLUDING ALL)",
    """
    ALTER TABLE processed_stripe_events ATTACH PARTITION processed_stripe_events_{day:%Y%m%d}
    FOR VALUES FROM ('{day:%Y-%m-%d} 00:00:00+00') TO ('{next:%Y-%m-%d} 00:00:00+00')
    """,
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """`known` events, spread over 30 days; per round, `events` that are new and as many that are known."""

    known: int = 10_000_000
    subscriptions: int = 2_000
    events: int = 20_000
    rounds: int = 5


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    rounds: dict[str, list[dict[str, Absorbed]]] = defaultdict(list)
    with stand.site(rng, IN_MEMORY) as empty:
        empty.execute("SELECT maintain_event_partitions()")
        full = stand.beside(empty)
        newest = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        apart = timedelta(days=DAYS - 1) / sizes.known
        full.execute(_FILL, newest, apart, sizes.known)
        full.execute("VACUUM ANALYZE processed_stripe_events")
        for number in range(sizes.rounds):
            sides = [("empty", empty), ("full", full)]
            for name, site in sides if number % 2 == 0 else reversed(sides):  # neither is always the first
                known = [_known(each, newest, apart) for each in rng.choices(range(sizes.known), k=sizes.events)]
                events = changing(f"evt_{number}", sizes.events, sizes.subscriptions)
                rounds[name].append(_round(site, events, known if name == "full" else events, rng))
                say(f"known, round {number + 1}, {name}: {rounds[name][-1]}")
        dropped = _drop_a_day(full, sizes.known // DAYS)
    return _compared(rounds) | {"drop_a_day_seconds": round(dropped, 3)}


def _round(site: Site, events: Sequence[Event], known: Sequence[Event], rng: random.Random) -> dict[str, Absorbed]:
    """Events that change rows, from tables that know none of them; then some that are known."""
    seal = Envelopes(Sealer(site.settings.secret_keys())).seal
    arrange(site, len({each.object_id for each in events}))
    site.execute("DELETE FROM processed_stripe_events WHERE source = 'webhook'")
    site.execute("VACUUM processed_stripe_events")
    found = {}
    for what, taken in (("applied", events), ("duplicates", known)):
        site.publish(list(map(seal, taken)), rng, topic=site.settings.nsq.events_topic)
        found[what] = consume(site, len(taken), rng, service)
    return found


def _known(number: int, newest: datetime, apart: timedelta) -> Event:
    """One of those that `_FILL` wrote, in any order: every page may be asked for."""
    content: dict[str, Any] = {"id": f"cus_{number}", "object": "customer", "metadata": {}}
    created = newest - number * apart
    return Event(f"evt_known_{number}", "customer.updated", created, API_VERSION, False, "webhook", content, {})


def _drop_a_day(site: Site, rows: int) -> float:
    """Seconds in which a day that is past, with so many events, is dropped."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=33)
    for statement in _PAST_DAY:
        site.execute(statement.format(day=day, next=day + timedelta(days=1)))
    site.execute(_FILL, day + timedelta(hours=23), timedelta(hours=22) / max(1, rows), rows)
    site.execute("CHECKPOINT")
    began = time.perf_counter()
    site.execute("SELECT maintain_event_partitions()")
    seconds = time.perf_counter() - began
    if site.execute("SELECT to_regclass(%s)", f"processed_stripe_events_{day:%Y%m%d}")[0][0] is not None:
        raise RuntimeError(f"the events of {day:%Y-%m-%d} are still there")
    return seconds


def _compared(rounds: dict[str, list[dict[str, Absorbed]]]) -> Figures:
    """`…_full_of_empty`: near 1 where it doesn't matter how many are known."""
    figures: Figures = {}
    for kind, digits in (("per_second", 0), ("cpu_us", 1)):
        sides = {
            name: {what: summary([_figure(each[what], kind) for each in side], digits) for what in side[0]}
            for name, side in rounds.items()
        }
        figures[kind] = sides
        figures[f"{kind}_full_of_empty"] = {
            what: ratio(sides["full"][what], sides["empty"][what]) for what in sides["full"]
        }
    return figures


def _figure(absorbed: Absorbed, kind: str) -> float:
    """Processor time is that of worker and Postgres together."""
    return absorbed.per_second if kind == "per_second" else absorbed.cpu_us["worker"] + absorbed.cpu_us["postgres"]


BENCH = Bench("known", Sizes(), Sizes(known=300, subscriptions=50, events=600, rounds=1), measure)

"""Counts: what it costs to count subscriptions while they are written, and how fast `GET /stats` is told of many."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from bench.bench import Bench, Figures, ratio, say, summary
from bench.site import Site
from bench.stand import Stand
from worker.runtime.counting import counted
from worker.store import counts
from worker.store.engine.database import Database, unbind

_TABLES = "billing_customers", "billing_subscriptions"

# Indexes, foreign keys and counts are made of all rows at once, which takes a part of the time.
_FILL = (
    "UPDATE pg_index SET indisready = false WHERE indrelid IN ({tables})",
    "ALTER TABLE billing_subscriptions DISABLE TRIGGER ALL",
    """
    INSERT INTO billing_customers (user_id, stripe_customer_id)
    SELECT 'u-' || n, 'cus_' || n FROM generate_series(1, {rows}) n
    """,
    """
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, trial_end, seen_from, seen_to)
    SELECT id, 'sub_' || id, (ARRAY['pending', 'free', 'pro'])[1 + mod(id, 3)],
        (ARRAY['trialing', 'active'])[1 + mod(id, 2)], mod(id, 50) = 0, now() + mod(id, 31) * interval '1 day',
        now(), now()
    FROM billing_customers
    """,
    *(f"SET maintenance_work_mem = '512MB'; REINDEX TABLE {table}" for table in _TABLES),
    "ALTER TABLE billing_subscriptions ENABLE TRIGGER ALL",
)
_SETTLE = ("VACUUM ANALYZE billing_customers, billing_subscriptions, subscription_counts", "CHECKPOINT")

_SWITCH = "ALTER TABLE billing_subscriptions {} TRIGGER USER"

_ONE = """
    DO $$ BEGIN
        FOR n IN 1..{writes} LOOP
            UPDATE billing_subscriptions SET canceling = NOT canceling, version = version + 1 WHERE id = {first} + n;
            COMMIT;
        END LOOP;
    END $$
"""
"""A signup or a fetch writes one row a transaction."""

_BATCH = """
    DO $$ BEGIN
        FOR n IN 0..{batches} - 1 LOOP
            UPDATE billing_subscriptions SET canceling = NOT canceling, version = version + 1
            WHERE id BETWEEN {first} + n * 500 AND {first} + n * 500 + 499;
            COMMIT;
        END LOOP;
    END $$
"""
"""Events write some hundred rows a transaction."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rows` subscriptions; in each of `rounds` so many `writes` of one row and `batches` of 500, with and without."""

    rows: int = 10_000_000
    rounds: int = 9
    writes: int = 3000
    batches: int = 40
    reads: int = 50


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng) as site:
        _fill(site, sizes.rows)
        seconds: dict[str, list[float]] = {}
        for _ in range(sizes.rounds):
            first = rng.randrange(1, sizes.rows - max(sizes.writes, 500 * sizes.batches))
            for switch in rng.sample(["ENABLE", "DISABLE"], 2):
                site.execute(_SWITCH.format(switch))
                for kind, statement in (("one", _ONE), ("batch", _BATCH)):
                    took = _timed(site, statement.format(first=first, writes=sizes.writes, batches=sizes.batches))
                    seconds.setdefault(f"{kind}_{switch.lower()}d", []).append(took)
            site.execute(_SWITCH.format("ENABLE"))
        told = _told(site, sizes.reads)
    figures: Figures = {name: summary([1000 * each for each in took], 1) for name, took in seconds.items()}
    figures["one_counted_of_uncounted"] = ratio(figures["one_enabled"], figures["one_disabled"])
    figures["batch_counted_of_uncounted"] = ratio(figures["batch_enabled"], figures["batch_disabled"])
    say(f"counts: {figures} {told}")
    return figures | told


def _fill(site: Site, rows: int) -> None:
    began, tables = time.monotonic(), ", ".join(f"'{table}'::regclass" for table in _TABLES)
    for statement in _FILL:
        site.execute(statement.format(rows=rows, tables=tables))
    database = Database(site.settings.database)
    try:
        with database.transaction() as tx:
            unbind(tx)
            counts.miscounted(tx, correct=True)
    finally:
        database.close()
    for statement in _SETTLE:
        site.execute(statement)
    say(f"counts: {rows:,} subscriptions are there after {time.monotonic() - began:.0f} s")


def _timed(site: Site, statement: str) -> float:
    began = time.monotonic()
    site.execute(statement)
    return time.monotonic() - began


def _told(site: Site, reads: int) -> Figures:
    """Milliseconds to read the numbers: of all the rows that the rounds left, and once they are folded."""
    database = Database(site.settings.database)
    try:
        figures = {"unfolded_rows": _rows(site), "stats_unfolded_ms": _read(database, reads)}
        with database.transaction() as tx:
            counts.fold(tx)
        return figures | {"folded_rows": _rows(site), "stats_folded_ms": _read(database, reads)}
    finally:
        database.close()


def _rows(site: Site) -> int:
    return int(site.execute("SELECT count(*) FROM subscription_counts")[0][0])


def _read(database: Database, reads: int) -> Figures:
    took = []
    for _ in range(reads):
        began = time.monotonic()
        counted(database)
        took.append(1000 * (time.monotonic() - began))
    return summary(took, 2)


BENCH = Bench("counts", Sizes(), Sizes(rows=2000, rounds=1, writes=20, batches=1, reads=2), measure)

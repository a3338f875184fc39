"""Ledger: absorbing, settling and sweeping with a million rows in the tables, against empty ones."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bench.absorbing import absorb
from bench.bench import Bench, Figures, ratio, say, summary
from bench.messages import body, profiles
from bench.settling import settle
from bench.site import Site
from bench.stand import Stand
from worker.domain.lanes import Lane
from worker.store.engine.database import Database
from worker.store.provisioning import backlog, leases

FILL = (
    """
    INSERT INTO provisionings (user_id, state, plan, trial_end, lane, attempts, lease_token, due_at,
        stripe_customer_id, stripe_subscription_id, subscription_request, customer_requested_at,
        customer_last_requested_at, subscription_requested_at, subscription_last_requested_at, completed_at)
    SELECT 'old-' || lpad(n::text, 8, '0'), 'completed', 'pending', now() + interval '31 days', 0, 1, 1, now(),
        'cus_' || md5(n::text), 'sub_' || md5(n::text), repeat('x', 200), now(), now(), now(), now(), now()
    FROM generate_series(0, {rows} - 1) AS n
    """,
    """
    INSERT INTO billing_customers (user_id, stripe_customer_id)
    SELECT user_id, stripe_customer_id FROM provisionings ORDER BY user_id
    """,
    """
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, trial_end, seen_from, seen_to)
    SELECT c.id, p.stripe_subscription_id, 'pending', 'trialing', false, p.trial_end, now(), now()
    FROM billing_customers c JOIN provisionings p USING (user_id) ORDER BY c.id
    """,
    "VACUUM ANALYZE provisionings, billing_customers, billing_subscriptions",
    "CHECKPOINT",
)
"""A user's ledger row, customer and subscription, each as settling leaves them; {rows} of them."""

_DUE = """
    INSERT INTO provisionings (user_id, plan, trial_end, lane, customer_request)
    SELECT 'due-' || {number} || '-' || n, 'pending', now() + interval '31 days', 0, repeat('x', 250)::bytea
    FROM generate_series(1, {rows}) AS n
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rows` old users; per round: `messages` absorbed, `profiles` settled, `sweeps` that lease 16 of the due rows."""

    rows: int = 1_000_000
    rounds: int = 5
    messages: int = 10_000
    profiles: int = 700
    warm_up: int = 300
    sweeps: int = 60


@dataclass(frozen=True, slots=True)
class Round:
    """What one side did: `per_second` by what was done; `cpu_us` of worker and Postgres together for each."""

    per_second: dict[str, float]
    cpu_us: dict[str, float]


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng) as empty:
        full = stand.beside(empty)
        _fill(full, sizes.rows)
        rounds: dict[str, list[Round]] = {"empty": [], "full": []}
        for number in range(sizes.rounds):
            for name in sorted(rounds, reverse=number % 2 == 1):  # neither side is always the first
                site = full if name == "full" else empty
                rounds[name].append(_round(site, name, number, sizes, rng))
                say(f"ledger, round {number + 1}, {name}: {rounds[name][-1]}")
    return _compared(
        {
            name: {
                "per_second": {
                    what: summary([each.per_second[what] for each in side], 1) for what in side[0].per_second
                },
                "cpu_us": {what: summary([each.cpu_us[what] for each in side], 1) for what in side[0].cpu_us},
            }
            for name, side in rounds.items()
        }
    )


def _fill(site: Site, rows: int) -> None:
    began = time.monotonic()
    for statement in FILL:
        site.execute(statement.format(rows=rows))
    say(f"ledger: {rows} rows in each of three tables, in {time.monotonic() - began:.0f} s")


def _compared(sides: dict[str, Figures]) -> Figures:
    """`…_full_of_empty`: near 1 where the ledger's size does not matter."""
    figures: Figures = {}
    for kind in ("per_second", "cpu_us"):
        full, empty = sides["full"][kind], sides["empty"][kind]
        figures[f"{kind}_full_of_empty"] = {what: ratio(full[what], empty[what]) for what in full}
    return figures | sides


def _round(site: Site, name: str, number: int, sizes: Sizes, rng: random.Random) -> Round:
    """Absorbs, sweeps and settles, from tables that hold nothing but the old rows."""
    site.execute("DELETE FROM provisionings WHERE user_id NOT LIKE 'old-%%'")
    site.execute("VACUUM provisionings")
    site.execute("CHECKPOINT")
    prefix = f"{name}-{number}-"
    bodies = profiles(prefix, sizes.messages)
    site.publish(bodies, rng)
    new = absorb(site, sizes.messages, rng)
    site.publish(_replayed(name, bodies, sizes, rng), rng)
    replayed = absorb(site, sizes.messages, rng)
    site.execute("DELETE FROM provisionings WHERE user_id LIKE %s", f"{prefix}%")
    sweeps = _sweeps(site, number, sizes)
    settled = settle(site, f"{prefix}s", sizes.profiles, sizes.warm_up, rng)
    per_second = {
        "absorb_new": new.per_second,
        "absorb_replayed": replayed.per_second,
        **sweeps,
        "settle": settled.per_second,
    }
    cpu_us = {
        "absorb_new": new.cpu_us["worker"] + new.cpu_us["postgres"],
        "absorb_replayed": replayed.cpu_us["worker"] + replayed.cpu_us["postgres"],
        "settle": 1000 * (settled.cpu_ms["worker"] + settled.cpu_ms["postgres"]),
    }
    return Round(per_second, cpu_us)


def _replayed(name: str, bodies: Sequence[bytes], sizes: Sizes, rng: random.Random) -> Sequence[bytes]:
    """Known users in any order; where there are old ones, any of those: every page may be asked for."""
    if name == "empty":
        return rng.sample(bodies, len(bodies))
    return [body(f"old-{rng.randrange(sizes.rows):08}") for _ in bodies]


def _sweeps(site: Site, number: int, sizes: Sizes) -> dict[str, float]:
    """Sweeps that lease 16 rows, sweeps that find nothing, and looks at the queues for the metrics."""
    database = Database(site.settings.database, application_name="subkeeper bench")
    site.execute(_DUE.format(number=number, rows=16 * sizes.sweeps))
    try:
        rates = {
            "sweep_of_16": _sweep(database, Lane.LIVE, sizes.sweeps),
            "sweep_of_none": _sweep(database, Lane.BACKFILL, sizes.sweeps),
            "look_at_queues": _look(database, sizes.sweeps),
        }
    finally:
        database.close()
    site.execute("DELETE FROM provisionings WHERE user_id LIKE 'due-%%'")
    return rates


def _sweep(database: Database, lane: Lane, count: int) -> float:
    began, now = time.perf_counter(), datetime.now(UTC)
    for _ in range(count):
        with database.transaction() as tx:
            leases.lease_due(tx, lane, 16, lease=timedelta(hours=1), stripe_now=now, openable=[b"xxxxx"])
    return count / (time.perf_counter() - began)


def _look(database: Database, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        with database.transaction() as tx:
            backlog.Queues(openable=list).state(tx)
    return count / (time.perf_counter() - began)


BENCH = Bench("ledger", Sizes(), Sizes(rows=2000, rounds=1, messages=1200, profiles=20, warm_up=5, sweeps=3), measure)

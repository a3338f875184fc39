"""Rows: signed webhooks, from their first byte to rows that are changed, with all processes on the machine's cores."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.bench import Bench, Figures, say, summary
from bench.meter import Meter
from bench.site import UNLIMITED, Site, wait_until
from bench.stand import IN_MEMORY, Stand
from bench.webhook import load

CONNECTIONS = 16
PATIENCE = 300.0

_ROWS = """
    INSERT INTO billing_customers (user_id, stripe_customer_id)
    SELECT 'changed-' || n, 'cus_' || n FROM generate_series(0, {count} - 1) n
    """, """
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, seen_from, seen_to)
    SELECT id, replace(stripe_customer_id, 'cus_', 'sub_'), 'pending', 'trialing', false, now() - interval '3 days',
        now() - interval '3 days'
    FROM billing_customers
    """, "CHECKPOINT"  # fmt: skip

_EMPTY = "TRUNCATE billing_customers, subscription_changes, subscription_refreshes, processed_stripe_events CASCADE"

_TAKEN = "SELECT count(*) FROM processed_stripe_events"
_APPLIED = """
    SELECT count(*) FILTER (WHERE outcome = 'applied'),
        extract(epoch FROM max(pg_xact_commit_timestamp(xmin)))::float8
    FROM processed_stripe_events
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`events` that each change one of so many `subscriptions`, in each of `rounds`."""

    events: int = 60_000
    subscriptions: int = 2_000
    rounds: int = 3


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng, IN_MEMORY) as site, ExitStack() as stack:
        site.nsqd.create_channel(site.settings.nsq.changes_topic, "bench")
        others = {job: stack.enter_context(site.worker(UNLIMITED, job)) for job in ("profiles", "events", "relay")}
        web = stack.enter_context(site.web())
        meter_of = {**others, "web": web, "postgres": site.postgres, "nsqd": site.nsqd}
        rounds = []
        for number in range(sizes.rounds):
            _arrange(site, sizes.subscriptions)
            rounds.append(_round(site, web.web_port, Meter(meter_of), sizes))
            say(f"rows, round {number + 1}: {rounds[-1]}")
    return _summed(rounds)


def _arrange(site: Site, count: int) -> None:
    for statement in (_EMPTY, *_ROWS):
        site.execute(statement.format(count=count))


def _round(site: Site, port: int, meter: Meter, sizes: Sizes) -> Figures:
    """`per_second`: from the first byte to the commit of the last row."""
    delivered = load(port, CONNECTIONS, PATIENCE, sizes.events, sizes.subscriptions)
    if delivered["statuses"] != {"200": sizes.events}:
        raise RuntimeError(f"not all deliveries were taken: {delivered['statuses']}")
    wait_until(lambda: site.execute(_TAKEN)[0][0] >= sizes.events, PATIENCE, "every event in the table", 0.2)
    [(applied, last)] = site.execute(_APPLIED)
    return {
        "per_second": sizes.events / (last - delivered["began"]),
        "delivered_per_second": delivered["per_second"],
        "applied_share": applied / sizes.events,
        "cpu_us_per_event": meter.per(sizes.events, 1e6),
    }


def _summed(rounds: Sequence[Figures]) -> Figures:
    named = ("per_second", "delivered_per_second")
    figures: Figures = {name: summary([each[name] for each in rounds]) for name in named}
    return figures | {name: [each[name] for each in rounds] for name in ("applied_share", "cpu_us_per_event")}


BENCH = Bench("rows", Sizes(), Sizes(events=300, subscriptions=50, rounds=1), measure)

"""Events: from nsqd to applied rows and FIN, and again as duplicates, beside a bare statement that writes the same."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg

from bench.absorbing import consume
from bench.bench import Bench, Figures, ratio, say, summary
from bench.site import Site
from bench.stand import IN_MEMORY, Stand
from worker.domain.event import Event
from worker.events.envelope import Envelopes
from worker.events.kept import SUBSCRIPTION
from worker.runtime.events import StripeEvents
from worker.sealing import Sealer
from worker.stripe_api.credentials import API_VERSION


@dataclass(frozen=True, slots=True)
class Sizes:
    """`events` about so many `subscriptions`, in each of `rounds`."""

    subscriptions: int = 2_000
    events: int = 40_000
    rounds: int = 5


_BARE: LiteralString = """
    WITH new AS (
        SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::boolean[], %s::bigint[], %s::text[],
                             %s::text[])
            AS new (event, created, id, canceling, version, before, after)
    ), recorded AS (
        INSERT INTO processed_stripe_events (stripe_event_id, created, type, object_id, source, outcome)
        SELECT event, created, 'customer.subscription.updated', id, 'webhook', 'applied' FROM new
        ON CONFLICT DO NOTHING RETURNING stripe_event_id
    ), last AS (
        SELECT DISTINCT ON (id) id, canceling, created, version FROM new ORDER BY id, version DESC
    ), written AS (
        UPDATE billing_subscriptions s
        SET canceling = last.canceling, seen_from = last.created, seen_to = last.created, version = last.version,
            updated_at = now()
        FROM last WHERE s.stripe_subscription_id = last.id
    )
    INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, before, after, cause)
    SELECT 'user-' || id, id, version, before::jsonb, after::jsonb, 'customer.subscription.updated' FROM new
"""


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, dict[str, float]] = {}
    with stand.site(rng, IN_MEMORY) as site:
        site.execute("SELECT maintain_event_partitions()")
        for number in range(sizes.rounds):
            events = changing(f"evt_{number}", sizes.events, sizes.subscriptions)
            sealed = list(map(Envelopes(Sealer(site.settings.secret_keys())).seal, events))
            for what in ("applied", "duplicates"):
                if what == "applied":
                    arrange(site, sizes.subscriptions)
                site.publish(sealed, rng, topic=site.settings.nsq.events_topic)
                absorbed = consume(site, len(sealed), rng, service)
                rates[what].append(absorbed.per_second)
                cpu[what] = absorbed.cpu_us
            applied = site.execute("SELECT count(*) FROM subscription_changes")[0][0]
            arrange(site, sizes.subscriptions)
            site.execute("DELETE FROM processed_stripe_events WHERE source = 'webhook'")
            rates["bare_statement"].append(_bare(site, events, site.settings.absorb.batch))
            say(
                f"events, round {number + 1}: " + ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in rates.items())
            )
    summaries = {name: summary(each) for name, each in rates.items()}
    return {
        "per_second": summaries,
        "applied_of_bare_statement": ratio(summaries["applied"], summaries["bare_statement"]),
        "changed_rows_share": applied / sizes.events,
        "cpu_us_per_event": cpu,
    }


def service(resources: Any) -> StripeEvents:
    service = StripeEvents(resources)
    service.inbox.maintain()
    return service


def arrange(site: Site, count: int) -> None:
    """So many subscriptions as their signups left them, and no changes yet."""
    site.execute("TRUNCATE billing_customers, subscription_changes, subscription_refreshes CASCADE")
    site.execute(
        "INSERT INTO billing_customers (user_id, stripe_customer_id)"
        " SELECT 'user-sub_' || n, 'cus_' || n FROM generate_series(0, %s - 1) n",
        count,
    )
    site.execute(
        "INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan,"
        " stripe_subscription_status, canceling, seen_from, seen_to)"
        " SELECT id, replace(stripe_customer_id, 'cus_', 'sub_'), 'pending', 'trialing', false, %s, %s"
        " FROM billing_customers",
        *[_today() - timedelta(hours=2)] * 2,
    )
    site.execute("CHECKPOINT")


def _today() -> datetime:
    """In the middle of the day, so that all events are of one."""
    return datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def changing(prefix: str, count: int, subscriptions: int) -> list[Event]:
    """`count` events, each of which changes its row (`arrange`), 5 s later than the one before it."""
    begin = _today() - timedelta(hours=1)
    return [_event(f"{prefix}_{number:08}", number, subscriptions, begin) for number in range(count)]


def _event(identifier: str, number: int, subscriptions: int, begin: datetime) -> Event:
    turn, which = divmod(number, subscriptions)
    seconds = int(begin.timestamp())
    price = {"id": "price_1", "lookup_key": "pending", "product": "prod_1"}
    item = {
        "id": "si_1",
        "quantity": 1,
        "current_period_start": seconds,
        "current_period_end": seconds + 99,
        "price": price,
    }
    content: dict[str, Any] = dict.fromkeys(SUBSCRIPTION)
    content |= {
        "id": f"sub_{which}",
        "object": "subscription",
        "customer": f"cus_{which}",
        "created": seconds,
        "livemode": False,
        "status": "active",
        "metadata": {},
        "cancel_at_period_end": turn % 2 == 0,
        "items": {"has_more": False, "data": [item]},
    }
    for gone in ("current_period_start", "current_period_end", "deleted"):
        del content[gone]
    created = begin + timedelta(seconds=5 * turn)
    return Event(
        identifier, "customer.subscription.updated", created, API_VERSION, False, "webhook", content, {"status": "x"}
    )


def _bare(site: Site, events: Sequence[Event], batch: int) -> float:
    """Events per second of one statement a batch and a transaction, from memory: nothing is read, opened or judged."""
    columns = {
        "plan": "pending",
        "stripe_subscription_status": "active",
        "trial_end": None,
        "period_start": "2026-01-01",
    }
    text = json.dumps(columns | {f"column_{number}": None for number in range(12)})
    parts = [events[start : start + batch] for start in range(0, len(events), batch)]
    with psycopg.connect(site.database_url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for part in parts:
            rows = [
                (each.id, each.created, each.object_id, each.object["cancel_at_period_end"], 1, text, text)
                for each in part
            ]
            cursor.execute(_BARE, [list(column) for column in zip(*rows, strict=True)], prepare=True)
            connection.commit()
        return len(events) / (time.perf_counter() - began)


TINY = Sizes(subscriptions=50, events=600, rounds=1)
BENCH = Bench("events", Sizes(), TINY, measure)

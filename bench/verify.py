"""Verify: how fast `subkeeper verify` compares rows with Stripe's subscriptions, in memory that doesn't grow.

Stripe takes no time: its list is made of one subscription that a worker has signed up (`bench.many_subscriptions`), and
so are our rows. None differs.
"""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.bench import Bench, Figures, ratio, say, summary
from bench.messages import profiles
from bench.meter import Meter
from bench.site import UNLIMITED, Site, wait_until
from bench.stand import Stand

_SETTINGS = UNLIMITED | {"STRIPE__MONTHLY_READS": "10000000"}

_CLONE = (
    """
    INSERT INTO provisionings (user_id, state, plan, trial_end, lane, stripe_customer_id, stripe_subscription_id,
        completed_at)
    SELECT 'bench-' || n, 'completed', p.plan, p.trial_end, p.lane, 'cus_bench' || lpad(n::text, 8, '0'),
        'sub_bench' || lpad(n::text, 8, '0'), p.completed_at
    FROM provisionings p, generate_series({first}, {last}) n WHERE p.user_id = 'user-00000000'
    """,
    """
    INSERT INTO billing_customers (user_id, stripe_customer_id)
    SELECT 'bench-' || n, 'cus_bench' || lpad(n::text, 8, '0') FROM generate_series({first}, {last}) n
    """,
    """
    INSERT INTO billing_subscriptions (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status,
        canceling, trial_start, trial_end, period_start, period_end, seen_from, seen_to, stripe_created)
    SELECT c.id, replace(c.stripe_customer_id, 'cus_', 'sub_'), s.plan, s.stripe_subscription_status, s.canceling,
        s.trial_start, s.trial_end, s.period_start, s.period_end, s.seen_from, s.seen_to, s.stripe_created
    FROM billing_customers c, billing_subscriptions s
    JOIN billing_customers o ON o.id = s.billing_customer_id AND o.user_id = 'user-00000000'
    WHERE c.user_id LIKE 'bench-%%' AND NOT EXISTS (
        SELECT FROM billing_subscriptions t WHERE t.billing_customer_id = c.id)
    """,
    "VACUUM ANALYZE provisionings, billing_customers, billing_subscriptions",
    "CHECKPOINT",
)
"""Subscriptions {first} to {last} as the worker left that of its one user."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Walks through `subscriptions`, and through `more` of them for the memory, `rounds` each."""

    subscriptions: int = 100_000
    more: int = 300_000
    rounds: int = 3


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    walks: dict[str, list[dict[str, Any]]] = {}
    with stand.site(rng) as site:
        template, known = _template(site, rng), 0
        for name, count in (("subscriptions", sizes.subscriptions), ("more", sizes.more)):
            for statement in _CLONE:
                site.execute(statement.format(first=known, last=count - 1))
            known = count
            with site.serving("bench.many_subscriptions", site.stripe.api_base, str(template), str(count)) as port:
                walks[name] = [_walk(site, port, count) for _ in range(sizes.rounds)]
                say(f"verify, {count} subscriptions: {walks[name]}")
    summed = {name: _summed(each) for name, each in walks.items()}
    return summed | {
        "peak_mb_more_less_subscriptions": round(
            summed["more"]["peak_mb"]["median"] - summed["subscriptions"]["peak_mb"]["median"], 1
        ),
        "per_second_more_of_subscriptions": ratio(summed["more"]["per_second"], summed["subscriptions"]["per_second"]),
    }


def _summed(walks: list[dict[str, Any]]) -> Figures:
    figures: Figures = {
        name: summary([each[name] for each in walks], 1) for name in ("per_second", "seconds", "peak_mb")
    }
    return figures | {"cpu_us_per_subscription": [each["cpu_us"] for each in walks]}


def _template(site: Site, rng: random.Random) -> Path:
    """A file with what Stripe lists of a user whom a worker has signed up, with the places of ids."""
    with site.worker(UNLIMITED):
        site.publish(profiles("user-", 1), rng)
        wait_until(lambda: bool(site.completed("user-")), 30, "the first one signed up")
    expand = {"expand[0]": "data.latest_invoice", "expand[1]": "data.customer"}
    [listed] = site.ask_stripe("GET", "/v1/subscriptions", **expand)["data"]
    text = json.dumps(listed).replace(listed["id"], "{SUBSCRIPTION}").replace(listed["customer"]["id"], "{CUSTOMER}")
    path = site.directory / "subscription.json"
    path.write_text(text)
    return path


def _walk(site: Site, port: int, count: int) -> dict[str, Any]:
    """One run of the command, which must find no difference. `seconds` from its start to its end."""
    settings = _SETTINGS | {"STRIPE__API_BASE": f"http://127.0.0.1:{port}"}
    began, peak = time.monotonic(), 0
    command = site.spawn("verify", "--json", settings=settings)
    program, meter = psutil.Process(command.pid), Meter({"verify": command.pid, "postgres": site.postgres})
    used: dict[str, float] = {}
    while command.poll() is None:
        with suppress(psutil.NoSuchProcess):
            peak, used = max(peak, program.memory_info().rss), meter.per(count, 1e6)
        time.sleep(0.05)
    seconds = time.monotonic() - began
    summary_line = json.loads(site.command_log.read_text().splitlines()[-1])
    if command.returncode or summary_line["subscriptions"] != count + 1 or summary_line["differences"]:
        raise RuntimeError(f"verify came to {command.returncode}: {summary_line}")
    return {"per_second": count / seconds, "seconds": seconds, "peak_mb": peak / 1e6, "cpu_us": used}


BENCH = Bench("verify", Sizes(), Sizes(subscriptions=150, more=300, rounds=1), measure)

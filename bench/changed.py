"""Changed: from a change at Stripe to our row, by webhook and by the poller alone.

A change's time is that of the request that makes it, before it is sent, by this machine's clock; the row's is that of
the commit, by Postgres's. Half of the changes come alone, as a renewal does; half come right behind another event about
the subscription, as in a Checkout, which sets a card in the same second: only Stripe can tell which of the two is
newer, and is asked. Of our own signups it is told what became of their events, which should cost no read.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median

from bench.bench import Bench, Figures, say
from bench.messages import profiles
from bench.site import SECRET, UNLIMITED, Site, wait_until
from bench.stand import IN_MEMORY, Stand
from sandbox.demo.verdict import percentiles
from sandbox.stripe.control import LoggedRequest
from worker.domain.event import TYPES

_POLLED = UNLIMITED | {"STRIPE__MONTHLY_READS": "1000000000"}
"""So that the schedule alone says how often polls are."""

_OUTCOMES = "SELECT outcome, count(*) FROM processed_stripe_events GROUP BY 1"
_SUBSCRIPTIONS = """
    SELECT stripe_subscription_id, stripe_customer_id
    FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id
"""
_CHANGES = """
    SELECT stripe_subscription_id, cause, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8
    FROM subscription_changes WHERE before IS NOT NULL AND before->'canceling' <> after->'canceling'
"""
_MADE_BY_A_SIGNUP = 3
"""Events of the types that we hear: its customer's, its subscription's, and of its trial's invoice, which is paid."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """So many `subscriptions`, each changed at a random moment, `pace` a second in all. So many other ones (`polled`)
    are changed with the poller alone, `polled_pace` a second. After `settled` seconds a change is later than the row,
    whole seconds and slack on both sides."""

    subscriptions: int = 400
    pace: float = 10.0
    polled: int = 60
    polled_pace: float = 1.0
    settled: float = 5.0


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    with stand.site(rng, IN_MEMORY) as site, ExitStack() as stack:
        web = stack.enter_context(site.web())
        site.control.listen(f"http://127.0.0.1:{web.web_port}/stripe/webhook", *TYPES, secret=SECRET)
        for job in ("profiles", "events"):
            stack.enter_context(site.worker(UNLIMITED, job))
        _sign_up(site, sizes.subscriptions, rng)
        figures: Figures = {"signups": _heard_of_signups(site, sizes.subscriptions)}
        time.sleep(sizes.settled)
        figures["by_webhook"] = _changed(site, sizes.pace, rng)
    with stand.site(rng, IN_MEMORY) as site, site.web(_POLLED, "all"):
        _sign_up(site, sizes.polled, rng)
        time.sleep(sizes.settled)
        polls = len(_asked(site, "/v1/events"))
        figures["by_poller"] = _changed(site, sizes.polled_pace, rng)
        times = [each["time"] for each in _asked(site, "/v1/events")[max(0, polls - 1) :]]
        apart = [later - earlier for earlier, later in pairwise(times)]
        figures["by_poller"]["polls_apart_seconds"] = {
            "median": round(median(apart), 2),
            "longest": round(max(apart), 2),
        }
    say(f"changed: {figures}")
    return figures


def _sign_up(site: Site, count: int, rng: random.Random) -> None:
    site.publish(profiles("user-", count), rng)
    wait_until(lambda: len(site.completed("user-")) == count, 60 + count / 5, f"{count} signups")


def _heard_of_signups(site: Site, count: int) -> Figures:
    """What became of the events of so many signups, and what Stripe was asked for because of them."""
    wait_until(lambda: _heard(site) >= _MADE_BY_A_SIGNUP * count, 60, "every event of theirs heard")
    wait_until(lambda: not site.execute("SELECT 1 FROM subscription_refreshes LIMIT 1"), 60, "nothing to fetch")
    return {"outcomes": _outcomes(site), "reads_per_signup": len(_asked(site, "/v1/subscriptions/")) / count}


def _changed(site: Site, pace: float, rng: random.Random) -> Figures:
    """Milliseconds from each change to its row, by how it came there; what became of the events about subscriptions."""
    site.execute("DELETE FROM processed_stripe_events")
    made = {}
    subscriptions = site.execute(_SUBSCRIPTIONS)
    for subscription, customer in rng.sample(subscriptions, len(subscriptions)):
        time.sleep(rng.expovariate(pace))
        if rng.random() < 0.5:  # a card is attached and set, by which no column changes that we keep
            card = site.ask_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
            site.ask_stripe("POST", f"/v1/subscriptions/{subscription}", default_payment_method=card)
        made[subscription] = time.time()
        site.ask_stripe("POST", f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")
    unchanged = "SELECT 1 FROM billing_subscriptions WHERE NOT canceling LIMIT 1"
    wait_until(lambda: not site.execute(unchanged), 120, "every change in its row")
    delays: dict[str, list[float]] = {"applied": [], "refreshed": []}
    for subscription, cause, at in site.execute(_CHANGES):
        how = "refreshed" if cause == "refresh" else "applied"
        delays[how].append(1000 * (at - made[subscription]))
    round_trips = [each["handled_ms"] or 0.0 for each in _asked(site, "/v1/subscriptions/")]
    return {
        "to_row_ms": {how: _ranked(each) for how, each in delays.items()},
        "share_refreshed": round(len(delays["refreshed"]) / len(made), 3),
        "outcomes": _outcomes(site),
        "stripe_round_trip_ms": asdict(percentiles(round_trips)),
    }


def _ranked(values: list[float]) -> Figures:
    return asdict(percentiles(values)) | {"slowest": round(max(values, default=0.0), 1), "changes": len(values)}


def _heard(site: Site) -> int:
    return int(site.execute("SELECT count(*) FROM processed_stripe_events")[0][0])


def _outcomes(site: Site) -> dict[str, int]:
    """Of events about subscriptions."""
    return dict(site.execute(_OUTCOMES))


def _asked(site: Site, path: str) -> list[LoggedRequest]:
    """What our processes have read below a path."""
    return [each for each in site.control.requests() if each["method"] == "GET" and each["path"].startswith(path)]


TINY = Sizes(subscriptions=6, pace=10.0, polled=2, polled_pace=5.0, settled=0.0)
BENCH = Bench("changed", Sizes(), TINY, measure)

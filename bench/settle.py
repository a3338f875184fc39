"""Settle: how many profiles a second one process gives a customer and a subscription, Stripe taking no time."""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.bench import Bench, Figures, say, summary
from bench.settling import settle
from bench.stand import Stand


@dataclass(frozen=True, slots=True)
class Sizes:
    profiles: int = 2500
    warm_up: int = 500
    rounds: int = 3


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    rounds = []
    with stand.site(rng) as site:
        for number in range(sizes.rounds):
            site.empty()
            rounds.append(settle(site, f"user-{number}-", sizes.profiles, sizes.warm_up, rng))
            say(f"settle, round {number + 1}: {rounds[-1].per_second:.0f} profiles/s, {rounds[-1].cpu_ms} ms CPU each")
    parts = rounds[0].cpu_ms
    return {
        "profiles_per_second": summary([each.per_second for each in rounds], 1),
        "cpu_ms_per_profile": {part: summary([each.cpu_ms[part] for each in rounds], 2) for part in parts},
        "cpu_percent_of_a_core": [each.cpu_percent for each in rounds],
    }


BENCH = Bench("settle", Sizes(), Sizes(profiles=60, warm_up=20, rounds=1), measure)

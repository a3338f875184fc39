"""Absorb: profiles from nsqd into the ledger, new and replayed, beside what nsq-py and Postgres could do at best."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.absorbing import absorb
from bench.bench import Bench, Figures, ratio, say, summary
from bench.ceilings import insert_many, insert_unnest, read_and_finish, rows_of
from bench.messages import profiles
from bench.site import Site
from bench.stand import IN_MEMORY, ON_DISK, ON_DISK_SYNCED, Stand


@dataclass(frozen=True, slots=True)
class Sizes:
    """`disk_messages`: for an nsqd that puts each on disk, which is that much slower."""

    messages: int = 40_000
    rounds: int = 5
    disk_messages: int = 4_000
    disk_rounds: int = 2


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    figures: Figures = {}
    with stand.site(rng, IN_MEMORY) as site:
        figures["nsqd_in_memory"] = _beside_ceilings(site, sizes, rng)
    for name, flags in (("nsqd_on_disk", ON_DISK), ("nsqd_on_disk_fsync_each", ON_DISK_SYNCED)):
        figures[name] = _on_disk(stand, flags, sizes, rng)
    return figures


def _beside_ceilings(site: Site, sizes: Sizes, rng: random.Random) -> Figures:
    count, batch = sizes.messages, site.settings.absorb.batch
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, dict[str, float]] = {}
    for number in range(sizes.rounds):
        bodies = profiles(f"user-{number}-", count)
        site.empty()
        for what in ("new", "replayed"):
            site.publish(bodies, rng)
            absorbed = absorb(site, count, rng)
            rates[what].append(absorbed.per_second)
            cpu[what] = absorbed.cpu_us
        rows = rows_of(site)
        for name, insert in (("bare_insert_unnest", insert_unnest), ("bare_insert_executemany", insert_many)):
            site.empty()
            rates[name].append(insert(site.database_url, rows, batch))
        site.publish(bodies, rng)
        rates["nsq_py_bare_loop"].append(read_and_finish(site, count))
        say(f"absorb, round {number + 1}: " + ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in rates.items()))
    return _compared({name: summary(each) for name, each in rates.items()}) | {"cpu_us_per_message": cpu}


def _compared(rates: dict[str, dict[str, Any]]) -> Figures:
    new = rates["new"]
    return {
        "per_second": rates,
        "new_of_bare_insert_unnest": ratio(new, rates["bare_insert_unnest"]),
        "new_of_bare_insert_executemany": ratio(new, rates["bare_insert_executemany"]),
        "new_of_nsq_py_bare_loop": ratio(new, rates["nsq_py_bare_loop"]),
    }


def _on_disk(stand: Stand, flags: Sequence[str], sizes: Sizes, rng: random.Random) -> Figures:
    count = sizes.disk_messages
    rates: dict[str, list[float]] = defaultdict(list)
    with stand.site(rng, flags) as site:
        for number in range(sizes.disk_rounds):
            bodies = profiles(f"disk-{number}-", count)
            site.empty()
            for what in ("new", "replayed"):
                site.publish(bodies, rng)
                rates[what].append(absorb(site, count, rng).per_second)
            site.publish(bodies, rng)
            rates["nsq_py_bare_loop"].append(read_and_finish(site, count))
    say(f"absorb, nsqd {' '.join(flags)}: " + ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in rates.items()))
    return {"per_second": {name: summary(each) for name, each in rates.items()}}


BENCH = Bench("absorb", Sizes(), Sizes(messages=1500, rounds=1, disk_messages=100, disk_rounds=1), measure)

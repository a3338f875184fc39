"""API: reading users' subscriptions over HTTP, beside the same server that answers from memory; and a change of one,
less the time that Stripe had its requests."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from bench.bench import Bench, Figures, ratio, say, summary
from bench.messages import profiles
from bench.meter import Meter
from bench.site import UNLIMITED, BenchWeb, Site, wait_until
from bench.stand import IN_MEMORY, Stand
from worker.accounts.tokens import NewToken, new_token

USERS = "user-"
MANY = 200
"""Users in one call: the most that there may be."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`seconds` of reads of each kind on each side in each of `rounds`, of `users`; `changes` one after the other."""

    seconds: float = 5.0
    rounds: int = 5
    connections: int = 32
    users: int = 1_000
    changes: int = 200


class _FromMemory(BenchWeb):
    """See `bench.api_from_memory`."""

    name: ClassVar[str] = "from_memory"

    def command(self) -> list[str]:
        return ["bench.api_from_memory" if part == "worker" else part for part in super().command() if part != "-P"]


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    token = new_token(rng.randbytes)
    settings = UNLIMITED | {"API__ADMIN_TOKENS": token.digest}
    with stand.site(rng, IN_MEMORY) as site:
        with site.worker(UNLIMITED, "profiles"):
            site.publish(profiles(USERS, sizes.users), rng)
            wait_until(lambda: len(site.completed(USERS)) == sizes.users, 60 + sizes.users / 5, "every signup")
        with site.web(settings) as web, _FromMemory(site.workspace, site.config, settings, "web") as memory:
            rounds: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for _ in range(sizes.rounds):
                for name, server in (("postgres", web), ("memory", memory)):
                    rounds[f"one_{name}"].append(_read(site, server, token, sizes, 1, sizes.connections))
                    rounds[f"many_{name}"].append(_read(site, server, token, sizes, MANY, 1))
            figures: Figures = {name: _summed(each) for name, each in rounds.items()}
            figures["one_of_from_memory"] = ratio(
                figures["one_postgres"]["per_second"], figures["one_memory"]["per_second"]
            )
            figures["change"] = _changes(site, web, token, sizes.changes)
    say(f"api: {figures}")
    return figures


def _read(
    site: Site, server: BenchWeb, token: NewToken, sizes: Sizes, at_once: int, connections: int
) -> dict[str, Any]:
    """What `bench.reads` says, all of it answered with 200, and the processor time of each request."""
    given = ("127.0.0.1", server.web_port, token.token, USERS, sizes.users, at_once, connections, sizes.seconds)
    meter = Meter({"web": server, "postgres": site.postgres})
    command = [sys.executable, "-m", "bench.reads", *map(str, given)]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if set(found["statuses"]) != {"200"}:
        raise RuntimeError(f"not all reads were answered: {found['statuses']}")
    say(f"api, {at_once} users, {connections} connections, {server.name}: {found['per_second']:,}/s, {found['ms']}")
    return found | {"cpu_us": meter.per(found["statuses"]["200"], 1e6)}


def _summed(rounds: list[dict[str, Any]]) -> Figures:
    figures: Figures = {"per_second": summary([each["per_second"] for each in rounds])}
    for rank in ("p50", "p99"):
        figures[f"{rank}_ms"] = summary([each["ms"][rank] for each in rounds], 2)
    return figures | {"cpu_us_per_request": [each["cpu_us"] for each in rounds]}


def _changes(site: Site, web: BenchWeb, token: NewToken, count: int) -> Figures:
    """Milliseconds of a PATCH that cancels or goes on, and of what Stripe had of it."""
    took, stripes = [], []
    for number in range(count):
        user, began = f"{USERS}{number % 50:08}", time.time()
        status = _patch(web.web_port, token, user, {"canceling": number // 50 % 2 == 0})
        ended = time.time()
        if status != http.client.OK:
            raise RuntimeError(f"a change was answered with {status}")
        theirs = [each for each in site.control.requests() if began <= each["time"] <= ended]
        stripes.append(sum(each["handled_ms"] or 0.0 for each in theirs))
        took.append(1000 * (ended - began))
    ours = [whole - theirs for whole, theirs in zip(took, stripes, strict=True)]
    return {
        "p50_ms": round(median(took), 2),
        "stripe_p50_ms": round(median(stripes), 2),
        "without_stripe_p50_ms": round(median(ours), 2),
        "changes": count,
    }


def _patch(port: int, token: NewToken, user: str, document: Mapping[str, object]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token.token}", "Content-Type": "application/merge-patch+json"}
    try:
        connection.request("PATCH", f"/subscriptions/{user}", json.dumps(document), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


BENCH = Bench("api", Sizes(), Sizes(seconds=0.3, rounds=1, users=200, changes=3), measure)

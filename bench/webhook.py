"""Webhook: signed deliveries from a socket to nsqd's OK, beside what uvicorn and nsqd could do at best."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.bench import Bench, Figures, ratio, say, summary
from bench.deliveries import event
from bench.meter import Meter
from bench.site import SECRET, BenchWeb, Site, wait_until
from bench.stand import IN_MEMORY, ON_DISK_SYNCED, Stand
from worker.broker.publisher import Publisher
from worker.events.envelope import Envelopes
from worker.events.reading import pruned
from worker.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Sizes:
    """Each side has `seconds` in each of `rounds`."""

    seconds: float = 10.0
    rounds: int = 5
    connections: int = 16


def measure(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    return {
        "nsqd_in_memory": _in_memory(stand, sizes, rng),
        "nsqd_on_disk_fsync_each": _fsync_each(stand, sizes, rng),
    }


def _in_memory(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    rounds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with stand.site(rng, IN_MEMORY) as site, site.web() as web, site.serving("bench.bare_http") as bare_port:
        for _ in range(sizes.rounds):
            for connections in (sizes.connections, 1):
                rounds[_name(connections)].append(_deliver(site, web, connections, sizes.seconds))
                rounds[f"bare_http_{_name(connections)}"].append(load(bare_port, connections, sizes.seconds))
    return {name: _summed(each) for name, each in rounds.items()}


def _fsync_each(stand: Stand, sizes: Sizes, rng: random.Random) -> Figures:
    rates: dict[str, list[float]] = defaultdict(list)
    with stand.site(rng, ON_DISK_SYNCED) as site, site.web() as web:
        for _ in range(sizes.rounds):
            rates["webhook"].append(_deliver(site, web, sizes.connections, sizes.seconds)["per_second"])
            rates["bare_mpub"].append(_mpub(site, sizes.connections, sizes.seconds, rng))
    summed = {name: summary(each) for name, each in rates.items()}
    say(f"webhook, nsqd that fsyncs each: {summed}")
    return {"per_second": summed, "webhook_of_bare_mpub": ratio(summed["webhook"], summed["bare_mpub"])}


def _name(connections: int) -> str:
    return f"{connections}_connection{'s' if connections > 1 else ''}"


def _deliver(site: Site, web: BenchWeb, connections: int, seconds: float) -> dict[str, Any]:
    """Raises where what was answered 200 isn't all at nsqd."""
    meter, before = Meter({"web": web, "nsqd": site.nsqd}), _published(site)
    figures = load(web.web_port, connections, seconds)
    answered = figures["statuses"].get("200", 0)
    figures["cpu_us_per_delivery"] = meter.per(max(1, answered), 1e6)
    if set(figures["statuses"]) - {"200"}:
        raise RuntimeError(f"not all deliveries were taken: {figures['statuses']}")
    wait_until(lambda: _published(site) - before >= answered, 10, "every delivery published")
    say(f"webhook, {_name(connections)}: {figures['per_second']:,}/s, {figures['ms']}")
    return figures


def load(port: int, connections: int, seconds: float, *once: int) -> dict[str, Any]:
    """What `bench.deliveries` says of so many seconds; `once`: of how many events about how many subscriptions."""
    given = ("127.0.0.1", port, SECRET, connections, seconds, *once)
    command = [sys.executable, "-m", "bench.deliveries", *map(str, given)]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found


def _published(site: Site) -> int:
    topic = site.settings.nsq.events_topic
    stats = json.loads(site.nsqd.http("GET", "/stats", format="json", topic=topic))
    return sum(int(found["message_count"]) for found in stats["topics"] or [])


def _summed(rounds: Sequence[dict[str, Any]]) -> Figures:
    figures: Figures = {"per_second": summary([each["per_second"] for each in rounds])}
    for rank in ("p50", "p99", "max"):
        figures[f"{rank}_ms"] = summary([each["ms"][rank] for each in rounds], 2)
    if "cpu_us_per_delivery" in rounds[0]:
        figures["cpu_us_per_delivery"] = [each["cpu_us_per_delivery"] for each in rounds]
    return figures | {"load_cpu_percent": summary([each["load_cpu_percent"] for each in rounds])}


def _mpub(site: Site, group: int, seconds: float, rng: random.Random) -> float:
    """Envelopes a second that nsqd takes `group` at a time, one group after the other."""
    envelopes = Envelopes(Sealer(site.settings.secret_keys()))
    bodies = [envelopes.seal(pruned(event(number, int(time.time())), "webhook")) for number in range(group)]
    publisher = Publisher(site.settings.nsq, rng=rng)
    count, began = 0, time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            publisher.publish(site.settings.nsq.events_topic, bodies)
            count += group
    finally:
        publisher.close()
    return count / (time.monotonic() - began)


BENCH = Bench("webhook", Sizes(), Sizes(seconds=0.3, rounds=1), measure)

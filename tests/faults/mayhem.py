"""Faults of every kind at once, drawn from a seed, against all that a deployment consists of (see `soak`)."""

from __future__ import annotations

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from sandbox.part import Part
from tests.faults.proxy import Weather
from tests.faults.soak_field import SoakField

PARTS = ("nsqd", "postgres", "stripe")
KINDS = {
    "worker_killed": 12, "worker_stopped": 12, "worker_terminated": 6,
    "server_killed": 14, "server_stopped": 18,
    "connections_cut": 15, "connections_reset": 15, "connections_closed_slowly": 10, "connections_half_open": 10,
    "network_slow": 15, "network_in_pieces": 15, "network_black": 12, "network_cuts_frames": 15, "network_refuses": 12,
    "stripe_fails": 25, "stripe_limits": 8, "backends_terminated": 40,
    "messages_repeated": 18, "messages_edited": 15, "messages_poisoned": 15,
}  # fmt: skip
"""How likely each kind is, against the others. Kills of servers and workers cost seconds each, so they are rarer."""


@dataclass
class Mayhem:
    """Acts one fault after the other; what lasts goes on beside the next ones, one for each target at most."""

    ground: SoakField
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    _busy: set[str] = field(default_factory=set)
    _at_work: set[int] = field(default_factory=set)
    _endings: list[tuple[float, int, str, Callable[[], None]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def run(self, faults: int, seconds: float) -> None:
        """So many faults, spread over the time (longer, where they take longer); then everything heals."""
        began = time.monotonic()
        for number in range(faults):
            while not self._act():
                self._end_due()
            while time.monotonic() < began + seconds * (number + 1) / faults:
                self._end_due()
                time.sleep(0.02)
        self.heal()

    def heal(self) -> None:
        """Ends what lasts, and takes every fault away."""
        while self._endings:
            self._end(heapq.heappop(self._endings))
        for proxy in self.ground.proxies.values():
            proxy.heal()
        self.ground.stack.control.clear_faults()
        self.ground.stack.control.limits()

    # Drawing

    def _act(self) -> bool:
        """One fault of a drawn kind; False when it met a target that has one already."""
        kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        group, _, _ = kind.partition("_")
        act: Callable[[str], str | None] = getattr(self, f"_{group}")
        done = act(kind)
        if done is None:
            return False
        self.counts[done] += 1
        return True

    def _later(self, seconds: float, target: str, end: Callable[[], None]) -> None:
        self._busy.add(target)
        heapq.heappush(self._endings, (time.monotonic() + seconds, next(self._numbers), target, end))

    def _end_due(self) -> None:
        while self._endings and self._endings[0][0] <= time.monotonic():
            self._end(heapq.heappop(self._endings))

    def _end(self, ending: tuple[float, int, str, Callable[[], None]]) -> None:
        _, _, target, end = ending
        end()
        self._busy.discard(target)

    # Kinds, by their first word. Each returns the name that it is counted by, or None

    def _worker(self, kind: str) -> str | None:
        workers = self.ground.workers
        number = self.rng.randrange(len(workers))
        target = f"worker {number}"
        if target in self._busy:
            return None
        worker = workers[number]
        if worker.pid not in self._at_work and not worker.logged("process.started"):
            return None  # so that it gets to work before it is its turn
        self._at_work.add(worker.pid)
        if kind == "worker_stopped":  # for longer than a lease, now and then
            worker.send(signal.SIGSTOP)
            self._later(self.rng.choice((0.5, 1.5, 3.0, 9.0)), target, lambda: worker.send(signal.SIGCONT))
            return kind
        if kind == "worker_killed":
            worker.kill()
        else:
            worker.send(signal.SIGTERM)
        workers[number] = self.ground.new_worker(number)
        return kind

    def _server(self, kind: str) -> str | None:
        name = self.rng.choice(PARTS)
        if name in self._busy:
            return None
        part = self.ground.servers.part(name)
        if kind == "server_killed":
            part.kill()
            self._later(self.rng.uniform(0.1, 1.0), name, lambda: self._start(name, part))
        else:
            part.pause()
            self._later(self.rng.uniform(0.3, 3.0), name, part.resume)
        return kind.replace("server", name)

    def _start(self, name: str, part: Part) -> None:
        part.start()
        if name == "stripe":
            self.ground.disturb_deliveries()

    def _connections(self, kind: str) -> str | None:
        part, proxy = self.rng.choice(list(self.ground.proxies.items()))
        acts = {
            "connections_cut": proxy.cut,
            "connections_reset": proxy.reset,
            "connections_closed_slowly": proxy.close_slowly,
            "connections_half_open": proxy.mute,
        }
        acts[kind]()
        return f"{part}_{kind}"

    def _network(self, kind: str) -> str | None:
        part, proxy = self.rng.choice(list(self.ground.proxies.items()))
        target = f"proxy {part}"
        if target in self._busy:
            return None
        proxy.weather = {
            "network_slow": Weather(delay=self.rng.uniform(0.005, 0.1)),
            "network_in_pieces": Weather(pieces=True),
            "network_black": Weather(held=True),
            "network_cuts_frames": Weather(cut_after=self.rng.randint(200, 20_000)),
            "network_refuses": Weather(accept=self.rng.choice(("close", "reset", "mute"))),
        }[kind]
        self._later(self.rng.uniform(0.2, 2.0), target, proxy.heal)
        return f"{part}_{kind}"

    def _stripe(self, kind: str) -> str | None:
        if "stripe" in self._busy or "stripe chaos" in self._busy:
            return None
        control = self.ground.stack.control
        if kind == "stripe_limits":
            control.limits(account_rate=self.rng.randint(20, 100), endpoint_rate=self.rng.randint(10, 50))
            end: Callable[[], None] = control.limits
        else:
            names = ("rate_limited", "lock_timeout", "unavailable", "error_before", "error_after", "drop_before",
                     "drop_after", "partial", "slow_body")  # fmt: skip
            control.chaos(self.rng.randrange(2**31), {name: self.rng.uniform(0, 0.08) for name in names})
            end = control.clear_faults

        def restored() -> None:
            with suppress(OSError):  # killed meanwhile, which cleared it too
                if "stripe" not in self._busy:
                    end()

        self._later(self.rng.uniform(0.5, 3.0), "stripe chaos", restored)
        return kind

    def _backends(self, kind: str) -> str | None:
        if "postgres" in self._busy:
            return None
        chance = self.rng.choice((0.2, 0.5, 1.0))
        with suppress(psycopg.OperationalError), psycopg.connect(
            self.ground.stack.database_url, autocommit=True, connect_timeout=2
        ) as connection:  # fmt: skip
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'subkeeper' AND random() < %s",
                [chance],
            )
        return kind

    def _messages(self, kind: str) -> str | None:
        if "nsqd" in self._busy:
            return None
        self.ground.traffic.disturb(kind, self.rng)
        return kind

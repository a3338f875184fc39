"""What the soak runs on: servers of its own, a proxy before each, three workers that do everything, and the auth
service's traffic."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.nsq import Nsqd
from sandbox.ports import free_port
from sandbox.postgres import PostgresServer
from sandbox.stripe_process import StripeProcess
from sandbox.workspace import Workspace
from tests.faults import fuzz, lives
from tests.faults.lives import Lives
from tests.faults.proxy import Proxy
from tests.faults.servers import QUICK, STRIPE_KEY, OwnStripe, Servers, Source
from tests.support.stack import Spawned, Stack, profile
from worker.domain.event import TYPES

PROCESSES = 3
BATCH = 20
LISTENER = "listener"
"""The channel of another service, on the topic of changes."""

WEBHOOK_SECRET = "whsec_of_a_soak_of_everything_at_once"
MISHAPS = {
    "drop": {"probability": 0.15}, "duplicate": {"probability": 0.2}, "reorder": {"probability": 0.3},
    "delay": {"probability": 0.1, "low": 100.0, "high": 4000.0},
}  # fmt: skip
"""What becomes of deliveries: they are lost for good, come twice, in disorder, late."""

PLANTED_EMAIL, PLANTED_NAME = "planted-{}@person.example", "Planted Person {}"
EVENTFUL = {
    "STRIPE_WEBHOOK_SECRETS": f"main={WEBHOOK_SECRET}",
    "SUBKEEPER_STRIPE__MONTHLY_READS": "1000000000",  # polls every 5 s
    "SUBKEEPER_TRIAL__DAYS": str(lives.TRIAL_DAYS),
    "SUBKEEPER_PLANS__PENDING__UNIT_AMOUNT": "900",
}
SMALL_POISON = [body for body in fuzz.TRAPS.values() if len(body) < 10_000]


class Traffic:
    """New profiles at an even pace, in a thread; and, on demand, messages that should not be there."""

    def __init__(self, source: Source, count: int, seconds: float) -> None:
        self.source = source
        self.published = 0
        self.poison: set[bytes] = set()
        self.failures: list[Exception] = []
        self._count, self._seconds = count, seconds
        self._thread = threading.Thread(target=self._run, name="traffic")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Returns when every profile has nsqd's OK."""
        self._thread.join(120)
        assert not self._thread.is_alive(), "the source could not publish"
        assert not self.failures, self.failures

    def disturb(self, kind: str, rng: random.Random) -> None:
        """Repeats up to 30 profiles out of order, as they were or edited, or mixes in poison."""
        known = list(self.source.profiles.values())
        if kind == "messages_poisoned":
            bodies = rng.sample(SMALL_POISON, 5)
            self.poison |= set(bodies)
            self.source.send(bodies)
        elif known:
            again = rng.sample(known, min(30, len(known)))
            if kind == "messages_edited":
                again = [{**each, "name": f"Planted Person {rng.random()}", "email": None} for each in again]
            self.source.send([self.source.body(each) for each in again])

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for first in range(0, self._count, BATCH):
                numbers = range(first, min(first + BATCH, self._count))
                self.source.publish(_planted(number) for number in numbers)
                time.sleep(max(0.0, began + self._seconds * first / self._count - time.monotonic()))
        except Exception as error:  # noqa: BLE001 - handed to whoever joins
            self.failures.append(error)


def _planted(number: int) -> dict[str, Any]:
    return profile(f"user-{number}", email=PLANTED_EMAIL.format(number), name=PLANTED_NAME.format(number))


@dataclass
class SoakField:
    """Everything that a fault can hit."""

    stack: Stack
    servers: Servers
    proxies: dict[str, Proxy]
    traffic: Traffic
    lives: Lives
    directory: Path
    workers: list[Spawned] = field(default_factory=list)
    _ports: dict[int, int] = field(default_factory=dict)

    def new_worker(self, number: int) -> Spawned:
        """A process in that place, on its way to work; its log stays in `directory`."""
        before, self._ports[number] = self._ports.get(number, 0), (port := free_port())
        if self.proxies["web"].target == before:  # Stripe delivers to one that is there
            self.proxies["web"].target = self._ports.get((number + 1) % PROCESSES, port)
        return self.stack.spawn(
            "run",
            "all",
            SUBKEEPER_WEB__PORT=str(port),
            SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=self.proxies["nsqd"].address,
            SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="",
            SUBKEEPER_DATABASE__URL=self.stack.database_url.replace(
                f":{self.servers.postgres.port}/", f":{self.proxies['postgres'].port}/"
            ),
            SUBKEEPER_STRIPE__API_BASE=f"http://{self.proxies['stripe'].address}",
            SUBKEEPER_ABSORB__BATCH="50",
            SUBKEEPER_DATABASE__POOL_SIZE="12",
            SUBKEEPER_SETTLE__SWEEP_INTERVAL="0.5",
            STRIPE_LOG="debug",
        )

    def disturb_deliveries(self) -> None:
        """Again after each start of Stripe, which forgets it."""
        for kind, details in MISHAPS.items():
            self.stack.control.mishap(kind, **details)  # type: ignore[arg-type]  # JSON

    def logs(self) -> list[Path]:
        """The logs of every process there was."""
        return [*self.directory.glob("*.log"), *(part.log for part in self.servers)]


@contextmanager
def soak_field(directory: Path, profiles: int, seconds: float, rng: random.Random) -> Iterator[SoakField]:
    """Servers and workers, at work; gone at the end. `rng` is drawn from for all of them."""
    with ExitStack() as closing:
        workspace = closing.enter_context(Workspace())
        servers = Servers(
            closing.enter_context(Nsqd(workspace)),
            closing.enter_context(PostgresServer(workspace)),
            closing.enter_context(StripeProcess(workspace, secret_key=STRIPE_KEY, seed=str(rng.random()))),
        )
        for part in servers:  # nothing is left to be kept, and a graceful end takes its time
            closing.callback(part.kill)
        ports = {
            "nsqd": servers.nsqd.tcp_port,
            "postgres": servers.postgres.port,
            "stripe": servers.stripe.port,
            "web": 0,
        }
        proxies = {
            name: closing.enter_context(Proxy(port, random.Random(rng.random()))) for name, port in ports.items()
        }
        stack = Stack(
            closing, directory=directory, database_url=servers.postgres.create_database("subkeeper"),
            nsqd=servers.nsqd, topics=("profile_created", "profile_backfill", "stripe_events"),
            stripe=OwnStripe(servers.stripe),
            rng=rng, environ={**QUICK, **EVENTFUL},
        )  # fmt: skip
        stack.setup()
        stack.nsqd.create_channel(stack.changes_topic, LISTENER)
        source = Source(stack, random.Random(rng.random()))
        closing.callback(source.close)
        lives_led = Lives(stack, random.Random(rng.random()))
        closing.callback(lives_led.stop)
        ground = SoakField(stack, servers, proxies, Traffic(source, profiles, seconds), lives_led, directory)
        stack.control.listen(f"http://{proxies['web'].address}/stripe/webhook", *TYPES, secret=WEBHOOK_SECRET)
        stack.control.retries(*lives.RETRIES)
        ground.disturb_deliveries()
        ground.workers += [ground.new_worker(number) for number in range(PROCESSES)]
        for worker in ground.workers:
            worker.await_start()
        yield ground

"""A network that misbehaves between a worker and each part, under traffic: nobody is lost, nobody is served twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import FAIR, Proxy, Weather
from tests.faults.tally import EXACT, tally
from tests.support.stack import Stack, Worker, profile, users
from tests.support.waiting import wait_until
from worker.errors import Unavailable
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database

pytestmark = pytest.mark.usefixtures("quick_probes")

Part = Literal["nsqd", "postgres", "stripe"]
IMPATIENT = {
    "SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "1",
    "SUBKEEPER_SETTLE__LEASE": "6",
    "SUBKEEPER_NSQ__HEARTBEAT_INTERVAL": "6.1",
    "SUBKEEPER_NSQ__MSG_TIMEOUT": "3",
    "SUBKEEPER_NSQ__CONNECT_TIMEOUT": "1",
    "SUBKEEPER_DATABASE__CONNECT_TIMEOUT": "2",
    "SUBKEEPER_DATABASE__STATEMENT_TIMEOUT": "1",
    "SUBKEEPER_DATABASE__LOCK_TIMEOUT": "1",
    "SUBKEEPER_ABSORB__BATCH": "5",
}


@dataclass
class Field:
    """A worker whose every connection goes through a proxy."""

    stack: Stack
    proxies: dict[Part, Proxy]
    worker: Worker


@pytest.fixture
def field(stack: Stack, rng: random.Random) -> Iterator[Field]:
    database, stripe = urlsplit(stack.database_url), urlsplit(stack.stripe.url)
    assert database.port
    assert stripe.port
    ports: dict[Part, int] = {"nsqd": stack.nsqd.tcp_port, "postgres": database.port, "stripe": stripe.port}
    with ExitStack() as closing:
        proxies = {part: closing.enter_context(Proxy(port, rng)) for part, port in ports.items()}
        worker = stack.start_worker(
            SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=proxies["nsqd"].address,
            SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="",
            SUBKEEPER_DATABASE__URL=f"postgresql://postgres@{proxies['postgres'].address}{database.path}",
            SUBKEEPER_STRIPE__API_BASE=f"http://{proxies['stripe'].address}",
            **IMPATIENT,
        )
        wait_until(worker.is_ready)
        yield Field(stack, proxies, worker)
        for proxy in proxies.values():
            proxy.heal()
        worker.end()


def weather(proxy: Proxy, weather: Weather, seconds: float) -> None:
    """It comes suddenly: connections there are live through it, or end by it."""
    proxy.weather = weather
    time.sleep(seconds)
    proxy.heal()


def again_and_again(act: Callable[[], None]) -> None:
    for _ in range(8):
        act()
        time.sleep(0.1)


def half_open(proxy: Proxy) -> None:
    """All connections, and the new ones for a second, lead nowhere and say nothing."""
    proxy.weather = Weather(accept="mute")
    proxy.mute()
    time.sleep(1)
    proxy.heal()


FAULTS: dict[str, Callable[[Proxy], None]] = {
    "latency": lambda proxy: weather(proxy, Weather(delay=0.05), 2),
    "cut": lambda proxy: again_and_again(proxy.cut),
    "cut in the middle of frames": lambda proxy: weather(proxy, Weather(cut_after=3000), 2),
    "reset": lambda proxy: again_and_again(proxy.reset),
    "slow close": lambda proxy: again_and_again(proxy.close_slowly),
    "partial frames": lambda proxy: weather(proxy, Weather(pieces=True), 2),
    "half-open": half_open,
    "blackhole, then healed": lambda proxy: weather(proxy, Weather(held=True), 2.5),
    "refused": lambda proxy: weather(proxy, Weather(accept="reset", cut_after=1), 1),
}
"""By name: what happens to the connections through a proxy, which is healed at the end."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", ["nsqd", "postgres", "stripe"])
def test_nobody_is_lost_or_served_twice_when_connections_misbehave(field: Field, part: Part, fault: str) -> None:
    stack, names = field.stack, users(60)
    stack.control.latency(ms=20)
    stack.publish(*[profile(name) for name in names[:30]])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings")) >= 5)
    stack.publish(*[profile(name) for name in names[30:45]])
    FAULTS[fault](field.proxies[part])
    assert field.proxies[part].weather == FAIR
    stack.publish(*[profile(name) for name in names[45:]])
    stack.await_completed(*names, timeout=30)
    wait_until(stack.is_drained, timeout=20)
    wait_until(field.worker.is_ready)
    assert tally(stack, dict.fromkeys(names, "completed")) == EXACT


def test_a_postgres_that_falls_silent_is_unavailable_soon_after_the_statement_timeout(
    database_url: str, rng: random.Random
) -> None:
    """Something between still takes our bytes (a pooler, a load balancer), so TCP has nothing to complain of."""
    url = urlsplit(database_url)
    assert url.port
    with Proxy(url.port, rng) as proxy:
        settings = {"url": f"postgresql://postgres@{proxy.address}{url.path}", "statement_timeout": 0.5}
        database = Database(DatabaseSettings.model_validate(settings))
        database.ping()
        proxy.mute()
        failures: list[Exception] = []
        thread = Thread(target=lambda: failures.append(_failure(database.ping)), daemon=True)
        thread.start()
        thread.join(10)
        assert [type(failure) for failure in failures] == [Unavailable]
        database.ping()
        database.close()


def _failure(act: Callable[[], None]) -> Exception:
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
        return error
    return AssertionError("nothing was raised")

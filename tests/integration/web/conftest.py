"""The web process, as the composition root builds it, on a broker and a topic of its own."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, cast

import pytest

from bench.deliveries import event, signature
from sandbox.nsq import Nsqd
from tests.support.stack import SECRET_KEY, Worker
from tests.support.waiting import wait_until
from worker.runtime.web import Web
from worker.settings.model import Settings

SECRET = "whsec_1234567890abcdef1234567890"
PATH = "/stripe/webhook"
CHANNEL = "subkeeper"


def body_of(number: int = 1, **changed: Any) -> bytes:
    return json.dumps(event(number, int(time.time()), **changed), indent=2).encode()


def signed(body: bytes, secret: str = SECRET, age: int = 0) -> str:
    return signature(secret, body, int(time.time()) - age)


class Endpoint(Worker):
    """`subkeeper run web` in a thread of the test's; `port` is the health endpoint's."""

    def __init__(self, nsqd: Nsqd, topic: str, environ: Mapping[str, str], rng: random.Random) -> None:
        super().__init__(Settings.load(None, environ), "web", rng)
        self.nsqd = nsqd
        self.topic = topic
        self.web_port: int = cast("Web", self.process.fronts[0]).http.port
        nsqd.create_channel(topic, CHANNEL)

    def post(
        self, body: bytes, signature: str | None = None, *, path: str = PATH, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """The status and the answer, of a delivery that is well signed unless a signature is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web_port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("POST", path, body, {"Stripe-Signature": signature or signed(body), **named})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.web_port), timeout=30)

    def raw(self, sent: bytes) -> bytes:
        """All that is answered to these bytes until the connection ends."""
        with self.connect() as connection:
            connection.sendall(sent)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer

    def published(self) -> int:
        """How many messages have come to the channel."""
        return int(self.nsqd.channel(self.topic, CHANNEL).get("message_count", 0))

    def await_published(self, count: int) -> None:
        """Neither more nor less."""
        wait_until(lambda: self.published() >= count, what=f"{count} published")
        assert self.published() == count

    def outcomes(self, outcome: str) -> float:
        return self.metric("subkeeper_webhook_deliveries_total", outcome=outcome)


@contextmanager
def serving(nsqd: Nsqd, topic: str, rng: random.Random, environ: Mapping[str, str]) -> Iterator[Endpoint]:
    """What `environ` sets beside what all of them need; an empty value: not set."""
    values = {
        "SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES": nsqd.tcp_address,
        "SUBKEEPER_NSQ__EVENTS_TOPIC": topic,
        "SUBKEEPER_NSQ__RECONNECT_MAX": "0.3",
        "SUBKEEPER_HEALTH__PORT": "0",
        "SUBKEEPER_WEB__PORT": "0",
        "SUBKEEPER_SECRET_KEY": SECRET_KEY,
        "STRIPE_WEBHOOK_SECRETS": f"main={SECRET}",
        **environ,
    }
    endpoint = Endpoint(nsqd, topic, {name: value for name, value in values.items() if value}, rng)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.end()


class NewEndpoint(Protocol):
    """`is_ready`: it returns once it is."""

    def __call__(self, *, nsqd: Nsqd | None = None, is_ready: bool = True, **environ: str) -> Endpoint: ...


@pytest.fixture
def new_endpoint(nsqd: Nsqd, new_topic: Callable[[], str], rng: random.Random) -> Iterator[NewEndpoint]:
    shared = nsqd
    with ExitStack() as closing:

        def start(*, nsqd: Nsqd | None = None, is_ready: bool = True, **environ: str) -> Endpoint:
            endpoint = closing.enter_context(serving(nsqd or shared, new_topic(), rng, environ))
            if is_ready:
                wait_until(endpoint.is_ready)
            return endpoint

        yield start


@pytest.fixture
def endpoint(new_endpoint: NewEndpoint) -> Endpoint:
    return new_endpoint()

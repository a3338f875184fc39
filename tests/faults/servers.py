"""A deployment whose nsqd, Postgres and Stripe are its own, and may be killed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sandbox.nsq import Nsqd
from sandbox.part import Part
from sandbox.postgres import PostgresServer
from sandbox.stripe.control import Control
from sandbox.stripe_process import StripeProcess
from tests.support.stack import Stack
from worker.broker.publisher import Publisher
from worker.domain.profile import MessageShape
from worker.errors import Unavailable

STRIPE_KEY = "sk_test_the_key_of_a_stripe_that_may_be_killed"

CHUNK = 50

QUICK = {
    "SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "2",
    "SUBKEEPER_SETTLE__LEASE": "7",
    "SUBKEEPER_NSQ__HEARTBEAT_INTERVAL": "7.1",
    "SUBKEEPER_NSQ__MSG_TIMEOUT": "5",
    "SUBKEEPER_NSQ__CONNECT_TIMEOUT": "1",
    "SUBKEEPER_NSQ__RECONNECT_MAX": "0.5",
    "SUBKEEPER_DATABASE__CONNECT_TIMEOUT": "2",
    "SUBKEEPER_DATABASE__STATEMENT_TIMEOUT": "2",
    "SUBKEEPER_DATABASE__LOCK_TIMEOUT": "1",
}
"""Settings under which a worker notices within seconds what it would notice within a minute."""


class OwnStripe:
    """A Stripe in a process of its own, as `Stack` takes it."""

    def __init__(self, process: StripeProcess) -> None:
        self.process = process
        self.secret_key = process.secret_key
        self.account: str = Control(process.api_base).health()["account"]

    @property
    def url(self) -> str:
        return self.process.api_base


class Servers(NamedTuple):
    """All that a worker talks to. Everything a message meets is on disk: nsqd and Stripe survive a kill as such."""

    nsqd: Nsqd
    postgres: PostgresServer
    stripe: StripeProcess

    def part(self, name: str) -> Part:
        found: Part = getattr(self, name)
        return found


class Source:
    """The auth service: keeps every profile, and publishes each until nsqd's OK. `replay` publishes them all again."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        settings = stack.settings()
        self.profiles: dict[str, Mapping[str, Any]] = {}
        self.replayed: dict[str, float] = {}
        """When each user was last replayed (Unix time)."""
        self._topic = stack.topic
        self._publisher = Publisher(settings.nsq, rng=rng)
        self._shape = MessageShape(user_id="/id", email="/email", name="/name", created_at="/created_at")

    def publish(self, profiles: Iterable[Mapping[str, Any]]) -> None:
        """Returns with all of them in nsqd, however long it is away."""
        found = {profile["id"]: profile for profile in profiles}
        self.profiles |= found
        self.send([self.body(profile) for profile in found.values()])

    def replay(self) -> None:
        profiles = list(self.profiles.values())
        for first in range(0, len(profiles), CHUNK):
            some = profiles[first : first + CHUNK]
            self.replayed |= dict.fromkeys([profile["id"] for profile in some], time.time())
            self.send([self.body(profile) for profile in some])

    def send(self, bodies: Sequence[bytes]) -> None:
        """A few at a time: nsqd syncs each to disk before its OK."""
        for first in range(0, len(bodies), CHUNK):
            self._send(bodies[first : first + CHUNK])

    def _send(self, bodies: Sequence[bytes]) -> None:
        for attempt in range(20):
            with suppress(Unavailable):
                self._publisher.publish(self._topic, bodies, timeout=6)
                return
            assert attempt < 19, "nsqd stayed away"

    def close(self) -> None:
        self._publisher.close()

    def body(self, profile: Mapping[str, Any]) -> bytes:
        """The message that the auth service sends for it."""
        return self._shape.encode(
            user_id=profile["id"], email=profile["email"], name=profile["name"], created_at=profile["created_at"]
        )

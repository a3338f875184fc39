"""One deployment for one test: topics, a database and a Stripe of its own, and workers on them as in production."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, Protocol, Self
from urllib.parse import urlencode, urlsplit

import structlog

from sandbox.nsq import Nsqd
from sandbox.stripe.control import Control, CustomerState, LoggedRequest, SubscriptionState
from sandbox.stripe.server import StripeServer
from tests.support.forked import Running, start
from tests.support.prepared import Prepared
from tests.support.session import Session
from tests.support.waiting import BUSY, wait_until
from worker.broker.admin import ensure_channel
from worker.events.envelope import Envelopes
from worker.events.reading import pruned
from worker.runtime.process import Process
from worker.runtime.setup import setup
from worker.sealing import Sealer
from worker.settings.model import Settings
from worker.store.engine.database import Database
from worker.store.provisioning import quarantined

SECRET_KEY = "an-example-of-a-secret-key-of-more-than-32-characters"
TRIAL = timedelta(days=31)
ENDED = ("canceled", "incomplete_expired")

_ITS_OWN = {
    "SUBKEEPER_DATABASE__URL", "SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES", "SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES",
    "SUBKEEPER_NSQ__PROFILE_TOPIC", "SUBKEEPER_NSQ__BACKFILL_TOPIC", "SUBKEEPER_NSQ__EVENTS_TOPIC",
    "SUBKEEPER_NSQ__CHANGES_TOPIC", "SUBKEEPER_STRIPE__API_BASE", "STRIPE_SECRET_KEY",
}  # fmt: skip
"""Variables of which no two deployments have the same."""

_PREPARED: dict[frozenset[tuple[str, str]], Prepared] = {}
"""By configuration, of this process's tests."""


def profile(user_id: str, **fields: Any) -> dict[str, Any]:
    """A message as the auth service sends it, created just now."""
    created = datetime.now(UTC).isoformat()
    return {"id": user_id, "email": f"{user_id}@example.org", "name": f"Name of {user_id}", "created_at": created} | (
        fields
    )


class Http:
    """The health endpoint of a worker on `port`."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def is_healthy(self) -> bool:
        return self.get("/healthz")[0] == 200

    def part(self, name: str) -> tuple[bool, str]:
        """Whether a part is well, and what it says; not well while it hasn't reported."""
        found = json.loads(self.get("/readyz")[1])["parts"].get(name, {"ok": False, "detail": "silent"})
        return found["ok"], found["detail"]

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample in /metrics; 0.0 when there is none."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        for line in self.get("/metrics")[1].splitlines():
            if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted):
                return float(line.rpartition(" ")[2])
        return 0.0


class Worker(Http):
    """`Process` in a thread of the test's."""

    def __init__(self, settings: Settings, what: str, rng: random.Random) -> None:
        self.process = Process(settings, what, rng)
        self.port = self.process.http.port
        self.code: int | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="worker")

    def start(self) -> Self:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self.code = self.process.run()
        except Exception as error:  # noqa: BLE001 - handed to whoever joins
            structlog.get_logger().critical("worker.died", exc_info=error)  # where a test waits for its work in vain
            self.error = error

    def stop(self) -> int | None:
        """Drains; the exit code. Raises what `run` raised."""
        self.process.stop()
        return self.join()

    def join(self, timeout: float = 30.0) -> int | None:
        self._thread.join(timeout * BUSY)
        assert not self._thread.is_alive(), "the worker did not end"
        if self.error is not None:
            raise self.error
        return self.code

    def end(self) -> None:
        """Drains, whatever it came to."""
        self.process.stop()
        self._thread.join(30.0)


class Spawned(Http):
    """The command in a process of its own; its log is `lines`. `program`: what is started instead of `subkeeper`."""

    def __init__(self, environ: Mapping[str, str], log: Path, *arguments: str, program: Sequence[str] = ()) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process: Running = (
                subprocess.Popen(
                    [*program, *arguments], stdout=output, stderr=output, env=dict(environ), cwd=log.parent
                )
                if program
                else start(
                    arguments, stdout=output.fileno(), stderr=output.fileno(), environ=environ, directory=log.parent
                )
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def parsed(self) -> list[dict[str, Any]]:
        """Its lines so far that are JSON."""
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log events so far."""
        return [line for line in self.parsed if "event" in line]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def await_start(self) -> Self:
        """Returns once the worker is at work (or billing is disabled)."""
        wait_until(
            lambda: (
                self.process.poll() is not None or self.logged("process.started") or self.logged("billing.disabled")
            ),
            what="process.started",
        )
        assert self.process.poll() is None, self.text
        self.port = int(self.logged("health.listening")[0]["port"])
        return self

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        return self.process.wait(timeout * BUSY)

    def kill(self) -> None:
        """SIGKILL, safe to repeat."""
        self.process.kill()
        self.process.wait(10)


class StripeAccount(Protocol):
    """A sandbox's Stripe, in a thread (`StripeServer`) or in a process of its own."""

    @property
    def url(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def account(self) -> str: ...


class Stack:
    """Everything around the workers. `environ` is how they are configured; `open_for` closes it all."""

    def __init__(
        self, closing: ExitStack, *, directory: Path, database_url: str, nsqd: Nsqd, topics: tuple[str, str, str],
        stripe: StripeAccount, rng: random.Random, environ: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._closing = closing
        self._directory = directory
        self._rng = rng
        self.database_url = database_url
        self._session = closing.enter_context(Session(lambda: self.database_url))
        self.nsqd = nsqd
        self.topic, self.backfill_topic, self.events_topic = topics
        self.changes_topic = f"{self.topic}.changes"
        self.stripe = stripe
        self.control = Control(stripe.url)
        self.environ = {
            "PATH": os.environ["PATH"],
            "SUBKEEPER_DATABASE__URL": database_url,
            "SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES": nsqd.tcp_address,
            "SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES": nsqd.http_address,
            "SUBKEEPER_NSQ__PROFILE_TOPIC": self.topic,
            "SUBKEEPER_NSQ__BACKFILL_TOPIC": self.backfill_topic,
            "SUBKEEPER_NSQ__EVENTS_TOPIC": self.events_topic,
            "SUBKEEPER_NSQ__CHANGES_TOPIC": self.changes_topic,
            "SUBKEEPER_NSQ__RECONNECT_MAX": "0.3",
            "SUBKEEPER_STRIPE__API_BASE": stripe.url,
            "SUBKEEPER_STRIPE__REQUESTS_PER_SECOND": "1000",
            "SUBKEEPER_STRIPE__ENDPOINT_REQUESTS_PER_SECOND": "1000",
            "SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "5",
            "SUBKEEPER_SETTLE__THREADS": "8",
            "SUBKEEPER_SETTLE__LEASE": "15",
            "SUBKEEPER_SETTLE__SWEEP_INTERVAL": "0.1",
            "SUBKEEPER_HEALTH__PORT": "0",
            "SUBKEEPER_WEB__PORT": "0",
            "SUBKEEPER_LOG__LEVEL": "debug",
            "SUBKEEPER_SECRET_KEY": SECRET_KEY,
            "STRIPE_SECRET_KEY": stripe.secret_key,
            **environ,
        }

    # Configuration and workers

    def settings(self, **environ: str) -> Settings:
        return Settings.load(None, self._environ(environ))

    def _environ(self, changes: Mapping[str, str]) -> dict[str, str]:
        """The environment with `changes`; an empty value takes a variable away."""
        return {name: value for name, value in {**self.environ, **changes}.items() if value}

    def setup(self, **environ: str) -> list[str]:
        """`subkeeper setup`."""
        return list(setup(self.settings(**environ), self._rng))

    def prepare(self) -> None:
        """What `setup` does first of all, in a tenth of its time: by it for the first deployment of this configuration,
        as a copy of that for the others (`Prepared`)."""
        assert isinstance(self.stripe, StripeServer)
        configured = frozenset(pair for pair in self.environ.items() if pair[0] not in _ITS_OWN)
        if configured not in _PREPARED:
            self.setup()
            _PREPARED[configured] = Prepared.of(self.stripe, self._session)
            return
        _PREPARED[configured].give(self.stripe, self._session)
        nsq = self.settings().nsq
        for topic in (nsq.profile_topic, nsq.backfill_topic, nsq.events_topic):
            ensure_channel(nsq, topic, nsq.channel)

    def start_worker(self, what: str = "profiles", **environ: str) -> Worker:
        """A worker in this process, at work or trying to be."""
        worker = Worker(self.settings(**environ), what, random.Random(self._rng.random()))
        self._closing.callback(worker.end)
        return worker.start()

    def spawn(self, *arguments: str, program: Sequence[str] = (), **environ: str) -> Spawned:
        """The command with these arguments, in a process of its own; or `program` with these and its own."""
        log = self._directory / f"subkeeper-{len(list(self._directory.iterdir()))}.log"
        spawned = Spawned(self._environ(environ), log, *arguments, program=program)
        self._closing.callback(spawned.kill)
        return spawned

    def spawn_worker(self, **environ: str) -> Spawned:
        """`subkeeper run profiles` in a process of its own, at work."""
        return self.spawn("run", "profiles", **environ).await_start()

    # NSQ

    def publish(self, *profiles: Mapping[str, Any] | bytes, topic: str | None = None) -> None:
        bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in profiles]
        self.nsqd.publish(topic or self.topic, *bodies)

    def events(self, *types: str) -> list[dict[str, Any]]:
        """What Stripe has told so far (of these types), oldest first, as many as a page holds."""
        query = urlencode([("limit", "100"), *(("types[]", each) for each in types)])
        found: list[dict[str, Any]] = self.call_stripe("GET", f"/v1/events?{query}")["data"]
        return found[::-1]

    def hear(self, *events: Mapping[str, Any], source: str = "webhook", key: str | None = None) -> None:
        """Publishes Stripe's events as the webhook and the poller do, signed under `key` if one is given."""
        envelopes = Envelopes(Sealer([key] if key else self.settings().secret_keys()))
        self.nsqd.publish(self.events_topic, *[envelopes.seal(pruned(event, source)) for event in events])

    def hear_signed(self, event: Mapping[str, Any]) -> None:
        """Publishes what a process of ours has signed, in the fields of `Event`, whatever it says."""
        content = json.dumps(event, separators=(",", ":")).encode()
        self.nsqd.publish(self.events_topic, Sealer(self.settings().secret_keys()).sign(content) + b"." + content)

    def outcomes(self) -> dict[str, str]:
        """What became of each event, by its id."""
        rows = self.rows("SELECT stripe_event_id, outcome FROM processed_stripe_events")
        return {row["stripe_event_id"]: row["outcome"] for row in rows}

    def await_heard(self, *events: Mapping[str, Any], timeout: float = 15.0) -> None:
        wait_until(lambda: self.outcomes().keys() >= {event["id"] for event in events}, timeout, "events are heard")

    def subscription_row(self, subscription_id: str) -> dict[str, Any]:
        """Our row; {} if there is none."""
        query = "SELECT * FROM billing_subscriptions WHERE stripe_subscription_id = %s"
        return next(iter(self.rows(query, subscription_id)), {})

    def is_drained(self, topic: str | None = None, channel: str = "subkeeper") -> bool:
        """Whether every message of the topic was finished."""
        stats = self.nsqd.channel(topic or self.topic, channel)
        return not (stats["depth"] or stats["in_flight_count"] or stats["deferred_count"])

    # Postgres

    def rows(self, query: LiteralString, *parameters: object) -> list[dict[str, Any]]:
        """What a statement returns, run by itself."""
        return self._session.rows(query, *parameters)

    def ledger(self, user_id: str) -> dict[str, Any]:
        """The user's ledger row; {} if there is none."""
        return next(iter(self.rows("SELECT * FROM provisionings WHERE user_id = %s", user_id)), {})

    def is_completed(self, *user_ids: str) -> bool:
        query = "SELECT count(*) AS n FROM provisionings WHERE user_id = ANY(%s) AND state = 'completed'"
        return bool(self.rows(query, list(user_ids))[0]["n"] == len(user_ids))

    def await_completed(self, *user_ids: str, timeout: float = 15.0) -> None:
        wait_until(lambda: self.is_completed(*user_ids), timeout, f"completed: {user_ids}")

    def await_state(self, user_id: str, state: str, timeout: float = 15.0) -> None:
        wait_until(lambda: self.ledger(user_id).get("state") == state, timeout, f"{user_id} is {state}")

    def retry_quarantined(self, *user_ids: str) -> list[str]:
        """`subkeeper quarantine retry`: the users whose rows are due again."""
        database = Database(self.settings().database)
        try:
            with database.transaction() as tx:
                return quarantined.retry(tx, user_ids)
        finally:
            database.close()

    def expire_leases(self) -> None:
        """What the database's clock does to the leases of a worker that is dead: they are over."""
        unfinished = "state IN ('pending', 'customer_created')"
        self.rows(f"UPDATE provisionings SET due_at = now(), lease_until = now() WHERE {unfinished}")
        self.rows("UPDATE subscription_refreshes SET due_at = now(), lease_until = now()")
        self.rows("UPDATE account_changes SET due_at = now(), lease_until = now() WHERE state = 'pending'")
        self.rows("UPDATE failing_invoices SET due_at = now(), lease_until = now()")
        self.rows("UPDATE stripe_event_cursor SET lease_until = now(), poll_at = now()")

    def forget_claim(self) -> None:
        """The database is a new one, which nobody has claimed, and Stripe's product names none."""
        self.rows("TRUNCATE deployment")
        for product in self.call_stripe("GET", "/v1/products")["data"]:
            unset = {f"metadata[{key}]": "" for key in product["metadata"]}
            self.call_stripe("POST", f"/v1/products/{product['id']}", **unset)

    # Stripe

    def call_stripe(self, method: str, path: str, **form: str) -> dict[str, Any]:
        """What somebody else does with the Stripe account."""
        status, body = self.ask_stripe(method, path, **form)
        assert status == 200, body
        return body

    def ask_stripe(self, method: str, path: str, **form: str) -> tuple[int, dict[str, Any]]:
        """The same, whatever status it is answered with."""
        parts = urlsplit(self.stripe.url)
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.stripe.secret_key}"}
        try:
            connection.request(method, path, urlencode(form), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def customers(self, user_id: str) -> list[CustomerState]:
        """The user's customers at Stripe, without deleted ones."""
        return [row for row in self.control.state()["customers"] if row["metadata"].get("user_id") == user_id]

    def subscriptions(self, user_id: str) -> list[SubscriptionState]:
        """All subscriptions at Stripe of the user's customers."""
        customers = {row["id"] for row in self.customers(user_id)}
        return [row for row in self.control.state()["subscriptions"] if row["customer"] in customers]

    def requests(self, method: str, path: str) -> list[LoggedRequest]:
        """What Stripe was asked so far."""
        return [each for each in self.control.requests() if (each["method"], each["path"]) == (method, path)]

    def price(self) -> dict[str, Any]:
        """The Pending plan's price at Stripe."""
        found = self.call_stripe("GET", "/v1/prices?lookup_keys[]=pending")
        price: dict[str, Any] = found["data"][0]
        return price

    # The promise

    def assert_exactly_one(self, *user_ids: str, price: str | None = None) -> None:
        """Each has one customer and one living subscription on the Pending plan, at Stripe and in every table."""
        state, price = self.control.state(), price or self.price()["id"]
        for user_id in user_ids:
            customers = [row for row in state["customers"] if row["metadata"].get("user_id") == user_id]
            assert len(customers) == 1, (user_id, customers)
            customer = customers[0]["id"]
            living = [
                row for row in state["subscriptions"] if row["customer"] == customer and row["status"] not in ENDED
            ]
            assert len(living) == 1, (user_id, living)
            assert living[0]["prices"] == [price]
            self._assert_rows(user_id, customer, living[0])

    def _assert_rows(self, user_id: str, customer: str, subscription: SubscriptionState) -> None:
        row = self.ledger(user_id)
        assert (row["state"], row["customer_request"]) == ("completed", None), row
        assert (row["stripe_customer_id"], row["stripe_subscription_id"]) == (customer, subscription["id"])
        assert subscription["trial_end"] is not None
        assert datetime.fromtimestamp(subscription["trial_end"], UTC) == row["trial_end"]
        mine = self.rows("SELECT * FROM billing_customers WHERE user_id = %s AND deleted_at IS NULL", user_id)
        assert [each["stripe_customer_id"] for each in mine] == [customer]
        query = "SELECT * FROM billing_subscriptions WHERE billing_customer_id = %s"
        held = self.rows(query, mine[0]["id"])
        assert [each["stripe_subscription_id"] for each in held] == [subscription["id"]]
        assert (held[0]["plan"], held[0]["stripe_subscription_status"]) == ("pending", "trialing")
        assert held[0]["trial_end"] == row["trial_end"]
        changes = self.rows("SELECT * FROM subscription_changes WHERE user_id = %s", user_id)
        assert [(each["before"], each["stripe_subscription_id"]) for each in changes] == [(None, subscription["id"])]


def users(count: int, prefix: str = "user") -> Sequence[str]:
    return [f"{prefix}-{number}" for number in range(count)]

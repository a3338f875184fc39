"""Everything around the two workers: time, Stripe, the database, and how they are seen from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine, Row, text
from structlog.typing import EventDict

from sandbox.stripe.objects import Obj
from sandbox.stripe.service import Service
from tests.interleavings.process import CONFIGURATIONS, NAMESPACE, PLAN, Process, Site
from tests.interleavings.puppet import Order, Place
from tests.interleavings.time import Time
from tests.interleavings.wire import Flight, Wire
from tests.support.simulated_clock import set_clock
from worker.domain.provisioning import user_digest
from worker.domain.subscription import Subscription
from worker.provisioning import restored
from worker.settings.sections import DatabaseSettings
from worker.store import subscriptions
from worker.store.engine.database import Database
from worker.store.provisioning import quarantined
from worker.telemetry import Metrics

USERS = ("user-1", "user-2")
USER = USERS[0]
LONGEST_FLIGHT = 600.0
"""Seconds after which a request that was sent has taken effect, or never will."""

ENDED = ("canceled", "incomplete_expired")
TABLES = (
    "billing_customers", "billing_subscriptions", "provisionings", "subscription_changes", "subscription_refreshes",
    "quarantined_messages", "account_changes", "checkouts", "subscription_tombstones", "unmatched_subscriptions",
)  # fmt: skip
"""Those that others refer to come first."""


Snapshot = Mapping[str, Sequence[str]]
"""A backup: each table's rows, as JSON."""


class World:
    """A few users' stories: a Stripe of its own, an empty database, two workers with a configuration each."""

    def __init__(self, settings: DatabaseSettings, eyes: Engine, metrics: Metrics, logged: Sequence[EventDict]) -> None:
        """`eyes`: the database as others than the workers see and change it; `logged`: what they warn of."""
        self.time = Time()
        self.logged = logged
        self.metrics = metrics
        self._database = Database(settings)
        self._eyes = eyes.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._holders: dict[int, Process] = {}
        self.lose_database()
        self._set_database_clock()
        self.stripe = Service(
            secret_key=None, seed="interleavings", state_file=None, now=self.time.at_stripe, monotonic=self.time
        )
        self.wire = Wire(self.stripe, self.time)
        self._site = Site(settings.url.get_secret_value(), self.wire, self.stripe.secret_key, self.time, metrics)
        self.processes = [Process(self._site, configuration) for configuration in CONFIGURATIONS]

    # Who does what

    @property
    def idle(self) -> Sequence[Process]:
        return [process for process in self.processes if process.idle]

    def busy(self, *places: Place) -> Sequence[Process]:
        """Those that wait at one of `places`; at any, without."""
        return [p for p in self.processes if p.puppet.at is not None and (not places or p.puppet.at.place in places)]

    def sending(self) -> Sequence[Process]:
        """Those whose request has not reached Stripe yet."""
        return [p for p in self.busy(Place.REQUEST) if not flight_of(p).begun]

    def orphans(self) -> Sequence[Flight]:
        """Requests under way that nobody waits for any more."""
        waiting = [flight_of(process) for process in self.busy(Place.REQUEST)]
        return [flight for flight in self.wire.under_way if flight not in waiting]

    def go(self, process: Process, order: Order = Order.GO) -> None:
        """Lets it go on to its next gate. A row that is leased to another worker it leaves as it is."""
        before = self.rows()
        process.puppet.go(order)
        crashes = [entry for entry in self.logged if entry["level"] == "critical"]
        assert not crashes, crashes
        for user, now in self.rows().items():
            row = before.get(user)
            if row is None or now.lease_token != row.lease_token:
                self._holders[now.lease_token] = process
            elif row.lease_until is not None and self._holders.get(row.lease_token) is not process:
                assert now == row, "a worker without the lease wrote to the row"

    def kill(self, process: Process) -> None:
        """Ends the process where it is; a new one takes its place."""
        process.stop()
        self.processes[self.processes.index(process)] = Process(self._site, process.configuration)

    def start_another(self) -> None:
        self.processes.append(Process(self._site, CONFIGURATIONS[0]))

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self._database.close()
        self._eyes.close()

    # Time

    def now(self) -> datetime:
        return self.time.now()

    def pass_time(self, span: timedelta) -> None:
        """Time passes for everybody: the worker, Stripe and the database. A request takes effect in time or never."""
        self.wire.land_those_sent_before(self.time() + span.total_seconds() - LONGEST_FLIGHT)
        self.time.go_on(span)
        self._set_database_clock()

    def _set_database_clock(self) -> None:
        set_clock(self._eyes, self.now())

    # The database's history

    def snapshot(self) -> Snapshot:
        """A backup of what is committed now."""
        return {
            table: list(self._eyes.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t")).scalars())
            for table in TABLES
        }

    def lose_database(self) -> None:
        """Every row is gone; the schema is there."""
        for table in reversed(TABLES):
            self._eyes.execute(text(f"DELETE FROM {table}"))

    def forget_events(self) -> None:
        """Another Stripe's events have the ids of those of the world before."""
        self._eyes.execute(text("DELETE FROM processed_stripe_events"))

    def set_back(self, snapshot: Snapshot) -> None:
        """The database as it was then. A restore ends every session: what is about to be committed is lost."""
        for process in self.busy(Place.COMMIT):
            self.go(process, Order.FAIL)
        self.lose_database()
        for table, rows in snapshot.items():
            insert = text(
                f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, CAST(:row AS jsonb))"
            )
            for row in rows:
                self._eyes.execute(insert, {"row": row})

    # What others do

    def message(self, user: str, email: str | None, created_at: datetime | None) -> bytes:
        """A profile-created message; `created_at`: None where it doesn't say."""
        profile: dict[str, str] = {"id": user, "name": "Ada"}
        if email is not None:
            profile["email"] = email
        if created_at is not None:
            profile["created_at"] = created_at.isoformat()
        return json.dumps(profile).encode()

    def retry_quarantined(self) -> None:
        with self._database.transaction() as tx:
            quarantined.retry(tx, USERS)

    def doubt(self) -> None:
        """`subkeeper provisioning doubt`, the first step after a restored backup."""
        restored.look_first(self._database)

    def tamper(self) -> None:
        """Somebody changes a byte of every profile, as it is sealed."""
        byte = "get_byte(customer_request, 40) # 1"
        self._eyes.execute(text(f"UPDATE provisionings SET customer_request = set_byte(customer_request, 40, {byte})"))

    def replace_price(self, *, archive: bool) -> None:
        """The plan's lookup key moves to a new price; `archive`: the old one takes no new subscriptions any more."""
        old = self.ask_stripe("GET", "/v1/prices?lookup_keys[]=pending")["data"][0]
        form = {
            "product": old["product"], "lookup_key": PLAN, "transfer_lookup_key": "true", "currency": "usd",
            "unit_amount": "0", "recurring[interval]": "month",
        }  # fmt: skip
        self.ask_stripe("POST", "/v1/prices", urlencode(form))
        if archive:
            self.ask_stripe("POST", f"/v1/prices/{old['id']}", "active=false")

    def ask_stripe(self, method: str, path: str, form: str = "") -> Any:
        """A request of somebody else's. Returns Stripe's answer."""
        flight = self.wire.send(method, path, {"Authorization": f"Bearer {self.stripe.secret_key}"}, form)
        return json.loads(self.wire.land(flight).body)

    # How it stands

    def customers(self, user: str = USER) -> list[Obj]:
        """The user's customers that are not deleted."""
        return [row for row in self.stripe.ledger.tables["customer"].all() if _is_of(row, user)]

    def all_subscriptions(self, user: str = USER) -> list[Obj]:
        """Every subscription that was ever made for the user."""
        return [row for row in self.stripe.ledger.tables["subscription"].all() if _is_of(row, user)]

    def subscriptions(self, user: str = USER) -> list[Obj]:
        """The user's subscriptions that have not ended."""
        return [row for row in self.all_subscriptions(user) if row["status"] not in ENDED]

    def rows(self) -> dict[str, Row[Any]]:
        """The ledger as it is committed, by user."""
        return {row.user_id: row for row in self._eyes.execute(text("SELECT * FROM provisionings"))}

    def row(self, user: str = USER) -> Row[Any] | None:
        return self.rows().get(user)

    def settled(self, lane: str, outcome: str) -> float:
        """How often the metrics of all processes say so."""
        labels = {"lane": lane, "outcome": outcome}
        return self.metrics.registry.get_sample_value("subkeeper_settle_seconds_count", labels) or 0.0

    def know_customer(self, user: str) -> str:
        """The user has a customer, by our tables, and no ledger row; its id."""
        digest = user_digest(NAMESPACE, user)
        customer: str = self.ask_stripe("POST", "/v1/customers", f"metadata[subkeeper]={digest}")["id"]
        insert = "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (:user, :customer)"
        self._eyes.execute(text(insert), {"user": user, "customer": customer})
        return customer

    def refreshes(self) -> int:
        """How many subscriptions are to be read again."""
        return int(self._eyes.execute(text("SELECT count(*) FROM subscription_refreshes")).scalar_one())

    def subscription(self, identifier: str) -> Subscription:
        """Our row of it."""
        with self._database.transaction() as tx:
            return subscriptions.read(tx, [identifier])[identifier]

    def cards(self) -> list[str]:
        """Every payment method that is somebody's, in order."""
        query = "SELECT stripe_payment_method_id FROM payment_methods WHERE priority IS NOT NULL ORDER BY priority"
        return list(self._eyes.execute(text(query)).scalars())

    def told(self) -> Sequence[Row[Any]]:
        """All changes, in the order of their versions."""
        query = "SELECT stripe_subscription_id, version, before, after FROM subscription_changes ORDER BY version, id"
        return self._eyes.execute(text(query)).all()

    def changes(self) -> Sequence[Row[Any]]:
        """What was asked for, in its order."""
        return self._eyes.execute(text("SELECT * FROM account_changes ORDER BY seq")).all()

    def waiting(self) -> list[str]:
        """What was asked for and hasn't ended, and pages between two states that last."""
        query = """
            SELECT concat_ws(' ', kind, steps[done + 1], last_error) FROM account_changes WHERE state = 'pending'
            UNION ALL SELECT concat_ws(' ', 'page', state) FROM checkouts
            WHERE state IN ('opening', 'complete', 'applying')
        """
        return list(self._eyes.execute(text(query)).scalars())

    def buried(self) -> set[str]:
        """Subscriptions that were removed."""
        return set(self._eyes.execute(text("SELECT stripe_subscription_id FROM subscription_tombstones")).scalars())

    def is_there(self, identifier: str) -> bool:
        """Whether we have a row of the subscription."""
        with self._database.transaction() as tx:
            return identifier in subscriptions.read(tx, [identifier])

    def causes(self) -> list[str]:
        """Of each change of a subscription, in order."""
        return list(self._eyes.execute(text("SELECT cause FROM subscription_changes ORDER BY id")).scalars())

    def billing(self, user: str = USER) -> list[tuple[str, str, str]]:
        """(user, customer, subscription) as our tables have them, a row for each pair."""
        query = """
            SELECT c.user_id, c.stripe_customer_id, s.stripe_subscription_id
            FROM billing_customers c LEFT JOIN billing_subscriptions s ON s.billing_customer_id = c.id
            WHERE c.deleted_at IS NULL AND c.user_id = :user
        """
        return [(row[0], row[1], row[2]) for row in self._eyes.execute(text(query), {"user": user})]


def _is_of(row: Obj, user: str) -> bool:
    return bool(row["metadata"].get("subkeeper") == user_digest(NAMESPACE, user))


def flight_of(process: Process) -> Flight:
    gate = process.puppet.at
    assert gate is not None
    assert gate.flight is not None
    return gate.flight


def finish(process: Process) -> None:
    """Lets it do what it has begun, undisturbed."""
    while not process.idle:
        process.puppet.go()


def go_to_write(process: Process, path: str) -> None:
    """To its POST to `path`, which is not sent yet; or to its end."""
    while process.puppet.at is not None:
        flight = process.puppet.at.flight
        if flight is not None and flight.call.path == path and flight.is_write:
            return
        process.puppet.go()

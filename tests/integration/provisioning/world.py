"""Everything around the two workers: time, Stripe, the database, and how they are seen from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, text

from tests.integration.provisioning.process import NAMESPACE, Outside, Process
from tests.integration.provisioning.puppet import Order, Place
from tests.integration.provisioning.wire import Flight, Wire
from worker.domain.provisioning import user_digest
from worker.sandbox.stripe.objects import Obj
from worker.sandbox.stripe.service import Service
from worker.store import provisionings
from worker.store.database import Database
from worker.telemetry import Metrics

USER = "user-1"
START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
LONGEST_FLIGHT = 600.0
"""Seconds after which a request that was sent has taken effect, or never will."""

ENDED = ("canceled", "incomplete_expired")
TABLES = (
    "provisionings, billing_customers, billing_subscriptions, subscription_changes, subscription_refreshes,"
    " quarantined_messages"
)


class Time:
    """The one clock: what the worker takes for the time since boot, and Stripe's."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def at_stripe(self) -> float:
        return START + self.seconds


class World:
    """One user's story: a Stripe of its own, an empty database, two workers."""

    def __init__(self, database: Database, time: Time, metrics: Metrics) -> None:
        self._database = database
        self.time = time
        self._eyes = database._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with database.transaction() as tx:
            for table in TABLES.split(", "):
                tx.execute(text(f"DELETE FROM {table}"))
        self._set_database_clock()
        self.stripe = Service(
            secret_key=None, seed="interleavings", state_file=None, now=time.at_stripe, monotonic=time
        )
        self.wire = Wire(self.stripe, time)
        self._outside = Outside(database, self.wire, self.stripe.secret_key, metrics)
        self.processes = [Process(self._outside), Process(self._outside)]

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
        """Lets it go on to its next gate. Unless it holds the row's lease, it leaves the row as it is."""
        before = self.row()
        process.puppet.go(order)
        after = self.row()
        if before is not None and after is not None and after.lease_token == before.lease_token != process.token:
            assert after == before, "a worker without the lease wrote to the row"

    def kill(self, process: Process) -> None:
        """Ends the process where it is; a new one takes its place."""
        process.stop()
        self.processes[self.processes.index(process)] = Process(self._outside)

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self._eyes.close()

    # Time

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time.at_stripe(), UTC)

    def pass_time(self, span: timedelta) -> None:
        """Time passes for everybody: the worker, Stripe and the database. A request takes effect in time or never."""
        self.wire.land_those_sent_before(self.time() + span.total_seconds() - LONGEST_FLIGHT)
        self.time.seconds += span.total_seconds()
        self._set_database_clock()

    def _set_database_clock(self) -> None:
        self._eyes.execute(text("UPDATE simulated.clock SET at = :now"), {"now": self.now()})

    # What others do

    def message(self, email: str | None, age: timedelta | None) -> bytes:
        """A profile-created message. `age`: how long ago the profile was created; None: it doesn't say."""
        profile: dict[str, str] = {"id": USER, "name": "Ada"}
        if email is not None:
            profile["email"] = email
        if age is not None:
            profile["created_at"] = (self.now() - age).isoformat()
        return json.dumps(profile).encode()

    def retry_quarantined(self) -> None:
        with self._database.transaction() as tx:
            provisionings.retry_quarantined(tx, [USER])

    def ask_stripe(self, method: str, path: str, form: str = "") -> Any:
        """A request of somebody else's. Returns Stripe's answer."""
        flight = self.wire.send(method, path, {"Authorization": f"Bearer {self.stripe.secret_key}"}, form)
        return json.loads(self.wire.land(flight).body)

    # How it stands

    def customers(self) -> list[Obj]:
        """The user's customers that are not deleted."""
        return [row for row in self.stripe.ledger.tables["customer"].all() if self._ours(row)]

    def subscriptions(self) -> list[Obj]:
        """The user's subscriptions that have not ended."""
        rows = self.stripe.ledger.tables["subscription"].all()
        return [row for row in rows if self._ours(row) and row["status"] not in ENDED]

    @staticmethod
    def _ours(row: Obj) -> bool:
        return bool(row["metadata"].get("subkeeper") == user_digest(NAMESPACE, USER))

    def row(self) -> Row[Any] | None:
        """The user's ledger row, as it is committed."""
        return self._eyes.execute(text("SELECT * FROM provisionings")).one_or_none()

    def billing(self) -> list[tuple[str, str, str]]:
        """(user, customer, subscription) as our tables have them, a row for each pair."""
        query = """
            SELECT c.user_id, c.stripe_customer_id, s.stripe_subscription_id
            FROM billing_customers c LEFT JOIN billing_subscriptions s ON s.billing_customer_id = c.id
            WHERE c.deleted_at IS NULL
        """
        return [(row[0], row[1], row[2]) for row in self._eyes.execute(text(query))]


def flight_of(process: Process) -> Flight:
    gate = process.puppet.at
    assert gate is not None
    assert gate.flight is not None
    return gate.flight

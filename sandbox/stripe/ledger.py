"""All of this Stripe's state, and the one place where it changes: `Ledger.commit`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.stripe.agenda import Agenda, Due, due_times
from sandbox.stripe.dunning import Retries
from sandbox.stripe.events.deliveries import Deliveries, Outcome, recipients
from sandbox.stripe.events.previous import previous_attributes
from sandbox.stripe.idempotency import IdempotencyStore, Saved
from sandbox.stripe.identifiers import Identifiers
from sandbox.stripe.journal import Journal
from sandbox.stripe.kinds import CLOCK, INDEXES, PREFIXES
from sandbox.stripe.objects import API_VERSION, Obj, event
from sandbox.stripe.search import FIELDS, SearchIndex
from sandbox.stripe.table import Table

CUSTOMERS_PER_CLOCK = 3
SUBSCRIPTIONS_PER_CUSTOMER = 3  # on a test clock


@dataclass(slots=True)
class Transaction:
    """What one request (or one passing of time) changes; nothing of it shows until it is committed.

    `now` is the time of the objects at hand: this Stripe's, or that of `clock`, the test clock that they are on. `wall`
    is this Stripe's. `authenticated`: the payment methods whose owner has just been asked, and agreed.
    """

    ledger: Ledger
    now: int
    wall: int
    request_id: str | None = None
    idempotency_key: str | None = None
    clock: str | None = None
    due: Due | None = None
    puts: dict[str, Obj] = field(default_factory=dict)
    authenticated: set[str] = field(default_factory=set)

    @property
    def ids(self) -> Identifiers:
        return self.ledger.ids

    def find(self, identifier: str) -> Obj | None:
        """An object as this transaction has it; None for one that never was or is deleted."""
        obj = self.puts.get(identifier) or self.ledger.find(identifier)
        return None if obj is None or obj.get("deleted") else obj

    def get(self, identifier: str) -> Obj:
        """As `find`, for an object that must be there."""
        obj = self.find(identifier)
        assert obj is not None, identifier
        return obj

    def put(self, obj: Obj) -> Obj:
        self.puts[obj["id"]] = obj
        return obj

    def enter(self, clock: str | None) -> None:
        """From here on the time is that of this test clock (nothing changes without one)."""
        known = None if clock is None else self.find(clock)
        if known is not None:
            self.clock, self.now = known["id"], int(known["frozen_time"])

    def emit(self, kind: str, obj: Obj, previous: Obj | None = None) -> None:
        """Records an event of `kind` about `obj` as it is now; `previous` is what it was.

        Whatever ends in `.updated` tells the old values, and isn't there if nothing has changed; so does a card that is
        detached, of its customer. The others (`paused`, `resumed`, …) don't tell them.
        """
        data: Obj = {"object": obj}
        if previous is not None and (kind.endswith(".updated") or kind == "payment_method.detached"):
            data["previous_attributes"] = previous_attributes(previous, obj)
            if not data["previous_attributes"]:
                return
        request = {"id": self.request_id, "idempotency_key": self.idempotency_key}
        self.put(event(self.ids.long("evt"), event_created(self), kind, data, request))


def event_created(tx: Transaction) -> int:
    """An event's `created` is the real time at which it was made, never its test clock's.

    Stripe's pages on test clocks don't say. A real event that is quoted publicly does: evt_1MqqbKLt4dXK03v5qaIbiNCC has
    `created` 1680064028, 14 s after its subscription's start; by then its clock, clock_1Mqqb4Lt4dXK03v5NOFiPg4R, was a
    week ahead: the subscription in it had left its trial at 1680668814.
    """
    return tx.wall


class Ledger:
    """Objects by kind, the idempotency store, the search index, the agenda of what time will change, and the
    deliveries to webhook endpoints.

    `event_lag`: how late a list may show an event, in seconds; `undelivered`: events that some endpoint has not taken;
    `detached`: payment methods that were taken from their customers.
    """

    def __init__(self, seed: str, journal: Journal | None) -> None:
        self._seed = seed
        self.unlimited_test_clocks = False  # whether Stripe's limits of objects on one are lifted
        self.url = "https://stripe.invalid"  # where its pages are, once it listens
        self._journal = journal
        self._generation = 0
        self.deliveries = Deliveries()
        self._clear()

    def _clear(self) -> None:
        self.tables = {kind: Table(fields) for kind, fields in INDEXES.items()}
        self.idempotency = IdempotencyStore()
        self.search = SearchIndex()
        self.agenda = Agenda()
        self.advancing: set[str] = set()
        self.detached: set[str] = set()
        self.retries = Retries()
        self.deliveries.clear()
        self.undelivered: set[str] = set()
        self.api_version = API_VERSION
        self.event_lag = 0.0
        self.ids = Identifiers(f"{self._seed}:{self._generation}:0")

    def load(self) -> float:
        """Replays the journal; returns the clock's offset as it was (seconds)."""
        offset, count = 0.0, 0
        for count, entry in enumerate(self._journal.entries() if self._journal else (), start=1):  # noqa: B007 - the count is used below
            self._apply(entry.get("put", ()), entry.get("at", 0), entry.get("wall", entry.get("at", 0)))
            if "due" in entry:
                self.agenda.done((int(entry["due"][0]), str(entry["due"][1])))
            if "save" in entry:
                self.idempotency.keep(Saved(**entry["save"]))
            if "retries" in entry:
                self.retries = Retries(tuple(entry["retries"]["days"]), entry["retries"]["then"])
            if "attempt" in entry:
                event, endpoint, outcome = entry["attempt"]
                self._finish(event, endpoint, outcome, entry["at"])
            self.api_version = entry.get("version", self.api_version)
            offset = entry.get("clock", offset)
        if self._journal is not None:
            self._journal.open()
        self.ids = Identifiers(f"{self._seed}:0:{count}")  # never the identifiers of the process before
        return offset

    def commit(self, tx: Transaction, saved: Saved | None = None) -> None:
        """Applies a transaction and its idempotency result, journal first."""
        puts = [self._addressed(obj) if obj["object"] == "event" else obj for obj in tx.puts.values()]
        if self._journal is not None and (puts or saved):
            entry: dict[str, Any] = {"at": tx.now, "wall": tx.wall, "put": puts}
            if tx.due is not None:
                entry["due"] = tx.due
            if saved is not None:
                entry["save"] = asdict(saved)
            self._journal.append(entry)
        self._apply(puts, tx.now, tx.wall)
        if saved is not None:
            self.idempotency.keep(saved)

    def _addressed(self, event: Obj) -> Obj:
        """The event with the account's version, and how many endpoints it is for."""
        waiting = len(self._recipients(event))
        return {**event, "api_version": self.api_version, "pending_webhooks": waiting}

    def _recipients(self, event: Obj) -> list[str]:
        return recipients(self.tables["webhook_endpoint"].all(), event["type"])

    def _apply(self, puts: Iterable[Obj], now: int, wall: int) -> None:
        for obj in puts:
            kind = obj["object"]
            self.tables[kind].put(obj)
            if kind == "event":
                if obj["type"] == "payment_method.detached":
                    self.detached.add(obj["data"]["object"]["id"])
                for endpoint in self._recipients(obj):
                    self.undelivered.add(obj["id"])
                    self.deliveries.add(obj["id"], endpoint)
            if kind in FIELDS:
                self.search.put(obj, wall)
            if kind == CLOCK:
                self._follow(obj)
            self._note(obj, now, wall)

    def _note(self, obj: Obj, now: int, wall: int) -> None:
        times = due_times(obj)
        if not times:
            return
        clock = obj.get("test_clock")
        if obj["object"] == "checkout.session":
            # Its times are real ones. Whoever moves its customer's clock past its end finds it expired, too.
            self.agenda.note(None, [(when, obj["id"]) for when in times if when > wall])
            customer = self.tables["customer"].live(obj["customer"] or "")
            clock = None if customer is None else customer["test_clock"]
        if clock is not None or obj["object"] != "checkout.session":
            self.agenda.note(clock, [(when, obj["id"]) for when in times if when > now])

    def _follow(self, clock: Obj) -> None:
        if clock.get("status") == "advancing":
            self.advancing.add(clock["id"])
        else:
            self.advancing.discard(clock["id"])
        if clock.get("deleted"):
            self.agenda.forget(clock["id"])

    def finish(self, event: str, endpoint: str, outcome: Outcome, at: float) -> None:
        """Takes the outcome of an attempt to deliver an event (not of an account that was reset meanwhile); `at` by the
        sandbox's clock."""
        if not self.deliveries.knows(event, endpoint):
            return
        if self._journal is not None:
            self._journal.append({"attempt": [event, endpoint, outcome], "at": at})
        self._finish(event, endpoint, outcome, at)

    def _finish(self, event: str, endpoint: str, outcome: Outcome, at: float) -> None:
        if self.deliveries.finish(event, endpoint, outcome, at):
            row = self.tables["event"].rows[event]
            self.tables["event"].put({**row, "pending_webhooks": row["pending_webhooks"] - 1})
            if row["pending_webhooks"] == 1:
                self.undelivered.discard(event)

    def set_api_version(self, version: str) -> None:
        """The account's version: new events have its shape, unless their endpoint has another."""
        if self._journal is not None:
            self._journal.append({"version": version})
        self.api_version = version

    def remember_clock(self, offset: float) -> None:
        if self._journal is not None:
            self._journal.append({"clock": offset})

    def remember_retries(self, retries: Retries) -> None:
        self.retries = retries
        if self._journal is not None:
            self._journal.append({"retries": asdict(retries)})

    def reset(self) -> None:
        """An empty account again (keys, limits and faults are not the ledger's)."""
        if self._journal is not None:
            self._journal.clear()
        self._generation += 1  # identifiers of the account before never come back
        self._clear()

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def find(self, identifier: str) -> Obj | None:
        """Any object by its id; a deleted one as what remains of it."""
        kind = PREFIXES.get(identifier.partition("_")[0])
        return self.tables[kind].rows.get(identifier) if kind else None

"""All of this Stripe's state, and the one place where it changes: `Ledger.commit`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.stripe.events.deliveries import Deliveries, Outcome, recipients
from sandbox.stripe.events.previous import previous_attributes
from sandbox.stripe.idempotency import IdempotencyStore, Saved
from sandbox.stripe.identifiers import Identifiers
from sandbox.stripe.journal import Journal
from sandbox.stripe.objects import API_VERSION, Obj, event
from sandbox.stripe.search import FIELDS, SearchIndex
from sandbox.stripe.table import Table

_NOTICE = 3 * 86_400  # seconds between the announcement of a trial's end and the end
_INDEXES = {
    "customer": ("email",),
    "product": (),
    "price": ("lookup_key", "product"),
    "subscription": ("customer",),
    "invoice": ("customer",),
    "event": (),
    "webhook_endpoint": (),
}
_PREFIXES = {
    "cus": "customer",
    "prod": "product",
    "price": "price",
    "sub": "subscription",
    "in": "invoice",
    "evt": "event",
}


@dataclass(slots=True)
class Transaction:
    """What one request (or one passing of time) changes; nothing of it shows until it is committed."""

    now: int
    ids: Identifiers
    request_id: str | None = None
    idempotency_key: str | None = None
    puts: dict[str, Obj] = field(default_factory=dict)

    def put(self, obj: Obj) -> Obj:
        self.puts[obj["id"]] = obj
        return obj

    def emit(self, kind: str, obj: Obj, previous: Obj | None = None) -> None:
        """Records an event of `kind` about `obj` as it is now; `previous` is what it was.

        Whatever ends in `updated` tells the old values, and isn't there if nothing has changed; `detached` tells whose
        the card was; the others (`paused`, `resumed`, …) don't tell them.
        """
        data: Obj = {"object": obj}
        if previous is not None and kind.endswith(("updated", "detached")):
            data["previous_attributes"] = previous_attributes(previous, obj)
            if not data["previous_attributes"]:
                return
        request = {"id": self.request_id, "idempotency_key": self.idempotency_key}
        self.put(event(self.ids.long("evt"), self.now, kind, data, request))


class Ledger:
    """Objects by kind, the idempotency store, the search index, the agenda of what time will change, and the
    deliveries to webhook endpoints.

    `event_lag`: how late a list may show an event, in seconds; `undelivered`: events that some endpoint has not taken.
    """

    def __init__(self, seed: str, journal: Journal | None) -> None:
        self._seed = seed
        self._journal = journal
        self._generation = 0
        self.deliveries = Deliveries()
        self._clear()

    def _clear(self) -> None:
        self.tables = {kind: Table(fields) for kind, fields in _INDEXES.items()}
        self.idempotency = IdempotencyStore()
        self.search = SearchIndex()
        self.deliveries.clear()
        self.undelivered: set[str] = set()
        self.api_version = API_VERSION
        self.event_lag = 0.0
        self._agenda: list[tuple[int, str]] = []
        self._noted: set[tuple[int, str]] = set()
        self.ids = Identifiers(f"{self._seed}:{self._generation}:0")

    def load(self) -> float:
        """Replays the journal; returns the clock's offset as it was (seconds)."""
        offset, count = 0.0, 0
        for count, entry in enumerate(self._journal.entries() if self._journal else (), start=1):  # noqa: B007 - the count is used below
            self._apply(entry.get("put", ()), entry.get("at", 0))
            if "save" in entry:
                self.idempotency.keep(Saved(**entry["save"]))
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
            entry: dict[str, Any] = {"at": tx.now, "put": puts}
            if saved is not None:
                entry["save"] = asdict(saved)
            self._journal.append(entry)
        self._apply(puts, tx.now)
        if saved is not None:
            self.idempotency.keep(saved)

    def _addressed(self, event: Obj) -> Obj:
        """The event with the account's version, and how many endpoints it is for."""
        waiting = len(self._recipients(event))
        return {**event, "api_version": self.api_version, "pending_webhooks": waiting}

    def _recipients(self, event: Obj) -> list[str]:
        return recipients(self.tables["webhook_endpoint"].all(), event["type"])

    def _apply(self, puts: Iterable[Obj], now: int) -> None:
        for obj in puts:
            kind = obj["object"]
            self.tables[kind].put(obj)
            if kind == "event":
                for endpoint in self._recipients(obj):
                    self.undelivered.add(obj["id"])
                    self.deliveries.add(obj["id"], endpoint)
            if kind in FIELDS:
                self.search.put(obj, now)
            if kind == "subscription":
                self._schedule(obj, now)

    def _schedule(self, sub: Obj, now: int) -> None:
        """Notes when time will next change this subscription."""
        times = [sub["cancel_at"] or 0] if sub["ended_at"] is None else []
        if sub["status"] == "trialing":
            times += [sub["trial_end"] - _NOTICE, sub["trial_end"]]
        elif sub["status"] == "active":
            times.append(sub["items"]["data"][0]["current_period_end"])
        for entry in {(when, sub["id"]) for when in times if when > now} - self._noted:
            self._noted.add(entry)
            heapq.heappush(self._agenda, entry)

    def due(self, now: int) -> tuple[int, str] | None:
        """Takes the first entry of the agenda up to `now`: (when, subscription id)."""
        if not self._agenda or self._agenda[0][0] > now:
            return None
        entry = heapq.heappop(self._agenda)
        self._noted.discard(entry)
        return entry

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
        kind = _PREFIXES.get(identifier.partition("_")[0])
        return self.tables[kind].rows.get(identifier) if kind else None

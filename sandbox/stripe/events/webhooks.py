"""Deliveries without their sockets: what is due, what is sent, and what came of it; `sender.py` does the sending.

A delivery is signed at the machine's own time, wherever the sandbox's clock was moved to: whoever checks the age of a
signature has only the former (`skew` moves it).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.stripe.clock import Clock
from sandbox.stripe.events.deliveries import SCHEDULES, Delivery, Outcome
from sandbox.stripe.events.delivery_log import DeliveryLog
from sandbox.stripe.events.endpoints import add
from sandbox.stripe.events.mishaps import Fate, Mishaps
from sandbox.stripe.events.signature import signature
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.objects import Obj
from sandbox.stripe.passing_time import settle
from sandbox.stripe.shapes import rendered_event
from sandbox.stripe.versions import known

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Letter:
    """A POST to an endpoint; `attempt` counts from 1."""

    event: str
    type: str
    endpoint: str
    attempt: int
    url: str
    headers: dict[str, str]
    body: bytes


class Webhooks:
    """The deliveries of one account. Settings: `timeout` (seconds until an attempt has failed), `at_once` (attempts
    at the same time, for each endpoint; 1 keeps their order), `skew` (seconds that signatures are off)."""

    def __init__(self, ledger: Ledger, clock: Clock, seed: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self.mishaps = Mishaps(seed)
        self.reset()

    def reset(self) -> None:
        self.mishaps.clear()
        self.log = DeliveryLog()
        self.timeout = 10.0
        self.at_once = 16
        self.skew = 0.0

    def due(self) -> list[Delivery]:
        """What is to be tried now. Where anybody listens, time passes here too, without a request that asks."""
        if self.listened_to:
            settle(self._ledger, self._clock.now())
        return self._ledger.deliveries.take_due(self._clock.time())

    @property
    def listened_to(self) -> bool:
        return self._ledger.tables["webhook_endpoint"].count() > 0

    def seconds_to_next(self) -> float | None:
        """Until the next attempt, if the clock isn't moved."""
        when = self._ledger.deliveries.next_due()
        return None if when is None else max(0.0, when - self._clock.time())

    def fate(self, delivery: Delivery) -> Fate:
        """What shall become of an attempt."""
        event = self._ledger.tables["event"].live(delivery.event)
        return self.mishaps.draw(event, delivery.endpoint) if event else Fate()

    def letter(self, delivery: Delivery, attempt: int) -> Letter | None:
        """What is sent; None for an endpoint that is gone or disabled by now, which gets no more of this event."""
        event = self._ledger.tables["event"].live(delivery.event)
        endpoint = self._ledger.tables["webhook_endpoint"].live(delivery.endpoint)
        if event is None or endpoint is None or endpoint["status"] != "enabled":
            return None
        version = endpoint["api_version"] or event["api_version"]
        body = _ENCODE(rendered_event(event, version, self._ledger.find)).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(self._secrets(endpoint), int(self._clock.real() + self.skew), body),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        return Letter(delivery.event, event["type"], delivery.endpoint, attempt, endpoint["url"], headers, body)

    def _secrets(self, endpoint: Obj) -> list[str]:
        now = self._clock.time()
        return [secret for secret, until in endpoint["_secrets"] if until is None or until > now]

    def finish(self, delivery: Delivery, outcome: Outcome) -> None:
        self._ledger.finish(delivery.event, delivery.endpoint, outcome, self._clock.time())

    def note(
        self,
        letter: Letter,
        *,
        status: int = 0,
        problem: str | None = None,
        ms: float = 0.0,
        mishaps: Sequence[str] = (),
    ) -> None:
        """Logs an attempt."""
        self.log.add(
            time=self._clock.time(),
            event=letter.event,
            type=letter.type,
            endpoint=letter.endpoint,
            attempt=letter.attempt,
            status=status,
            problem=problem,
            ms=ms,
            mishaps=tuple(mishaps),
        )

    def set_schedule(self, name: str) -> None:
        """`test` or `live`; KeyError for another."""
        self._ledger.deliveries.schedule = SCHEDULES[name]

    def set_api_version(self, version: str) -> None:
        """The account's version. ValueError for one that is none."""
        if not known(version):
            raise ValueError(f"no version of the API: {version!r}")
        self._ledger.set_api_version(version)

    def resend(self, event: str, endpoint: str | None) -> int:
        """Sends an event again, to one endpoint or to all; to how many. As the dashboard and the Stripe CLI do."""
        if self._ledger.tables["event"].live(event) is None:
            raise ValueError(f"no such event: {event!r}")
        everybody = [row["id"] for row in self._ledger.tables["webhook_endpoint"].all()]
        chosen = [identifier for identifier in everybody if endpoint in (None, identifier)]
        for identifier in chosen:
            self._ledger.deliveries.add(event, identifier, counted=False)
        return len(chosen)

    def listen(self, url: str, kinds: Sequence[str], secret: str | None) -> Obj:
        """Registers an endpoint as the API does; with a `secret` that its receiver knows already, if one is given."""
        tx = self._transaction()
        endpoint = add(tx, {"url": url, "enabled_events": list(kinds)}, secret or tx.ids.secret("whsec"))
        self._ledger.commit(tx)
        return endpoint

    def roll(self, endpoint: str, keep_seconds: float) -> str:
        """A new signing secret, as the dashboard's: the old ones sign beside it for `keep_seconds` (its clock)."""
        row = self._ledger.tables["webhook_endpoint"].live(endpoint)
        if row is None:
            raise ValueError(f"no such endpoint: {endpoint!r}")
        tx, now = self._transaction(), self._clock.time()
        until = now + keep_seconds
        old = [[secret, min(until, end or until)] for secret, end in row["_secrets"]]
        secret = tx.ids.secret("whsec")
        tx.put({**row, "_secrets": [[secret, None], *(entry for entry in old if entry[1] > now)]})
        self._ledger.commit(tx)
        return secret

    def _transaction(self) -> Transaction:
        now = self._clock.now()
        return Transaction(self._ledger, now, now)

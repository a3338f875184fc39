"""Takes profile-created messages into `provisionings`; a message is finished only after its row is committed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.messages import Absorbed, Message, requeued
from worker.domain.profile import MessageShape, ProfileCreated
from worker.domain.provisioning import KEY_TRUSTED_BY_CREATION, Provisioning, customer_request
from worker.domain.trial import TrialPolicy, trial_end
from worker.errors import Contended, Rejected
from worker.provisioning.halves import absorb_in_halves
from worker.provisioning.leases import Lease, Leases
from worker.sealing import Sealer
from worker.store import quarantine
from worker.store.engine.database import Database
from worker.store.provisioning import insert
from worker.store.provisioning.insert import NewProvisioning
from worker.store.quarantine import QuarantinedMessage
from worker.telemetry import Metrics
from worker.work.dispatcher import Dispatcher

LOCK_TIMEOUT = 0.3
"""Seconds to wait for somebody's lock where a batch is absorbed in halves: some ten times for each row that is held."""


_compact = json.JSONEncoder(separators=(",", ":")).encode
"""`json.dumps` with separators builds an encoder each time, which takes longer than encoding a profile."""


@dataclass(frozen=True, slots=True)
class Freezing:
    """What is frozen of a profile at first sight: all that will be sent to Stripe. `test_clock`: where its customer is
    to live."""

    sealer: Sealer
    namespace: str
    trial: TrialPolicy
    test_clock: str | None = None

    def row(self, profile: ProfileCreated, plan: str, lane: Lane, now: datetime) -> NewProvisioning:
        """The ledger's row of a profile that is seen for the first time at `now` (UTC)."""
        request = customer_request(self.namespace, profile.user_id, profile.email, profile.name, self.test_clock)
        since = profile.known_since(now)
        return NewProvisioning(
            user_id=profile.user_id,
            customer_request=self.sealer.seal(_compact(request).encode(), profile.user_id.encode()),
            plan=plan,
            trial_end=trial_end(profile, now, self.trial),
            lane=lane,
            # A profile that old may have been provisioned by a database that is no more, under a key that is forgotten.
            look_first=since is None or now - since > KEY_TRUSTED_BY_CREATION,
            key_possible_since=since,
        )


class ProfileInbox:
    """Absorbs batches: `prepare`, then what it returned; `absorb_apart` where a lock keeps a batch out again.

    A profile is frozen with `plan` and with the trial's end by `trial`, as of `now`, the time of first sight
    (UTC). `apart_within`: seconds that absorbing apart may take. `test_clock`: where its customer is to live.
    """

    def __init__(
        self,
        database: Database,
        leases: Leases,
        dispatcher: Dispatcher[Lease],
        sealer: Sealer,
        metrics: Metrics,
        *,
        shape: MessageShape,
        namespace: str,
        plan: str,
        trial: TrialPolicy,
        lanes: Mapping[str, Lane],
        quarantine_for: timedelta,
        now: Callable[[], datetime],
        apart_within: float,
        test_clock: str | None = None,
    ) -> None:
        self._database = database
        self._leases = leases
        self._dispatcher = dispatcher
        self._sealer = sealer
        self._metrics = metrics
        self._shape = shape
        self._freezing = Freezing(sealer, namespace, trial, test_clock)
        self._plan = plan
        self._lanes = lanes
        self._quarantine_for = quarantine_for
        self._now = now
        self._apart_within = apart_within
        self._log = structlog.get_logger(__name__)

    def prepare(self, batch: Sequence[Message], lock_timeout: float | None = None) -> Callable[[], Absorbed]:
        """Decodes and freezes `batch`; what it returns commits that, on any thread. `lock_timeout` (seconds) in place
        of the configured one.

        Committing raises `Unavailable` or `TryLater`: then nothing is known to be committed, and the same batch may be
        prepared and committed again.
        """
        now = self._now()
        rows: dict[str, NewProvisioning] = {}
        firsts: dict[str, Message] = {}
        decoded: list[tuple[str, str]] = []
        refused: list[tuple[Message, Rejected]] = []
        for message in batch:
            try:
                profile = self._shape.decode(message.body)
            except Rejected as refusal:
                refused.append((message, refusal))
                continue
            decoded.append((profile.user_id, message.topic))
            if profile.user_id not in rows:  # of several messages for one user the first counts, as across batches
                rows[profile.user_id] = self._freezing.row(profile, self._plan, self._lanes[message.topic], now)
                firsts[profile.user_id] = message
        ordered = [rows[user_id] for user_id in sorted(rows)]

        def commit() -> Absorbed:
            try:
                new, held, erased = self._commit(ordered, refused, lock_timeout)
            except Rejected as refusal:
                return self._absorb_one_by_one(batch, refusal, lock_timeout)
            outcomes = [(firsts[user_id].topic, "new") for user_id in new]
            outcomes += [(message.topic, "quarantined") for message, _ in refused]
            if erased:
                outcomes += [(topic, "erased") for user_id, topic in decoded if user_id in erased]
            return _came_to(batch, outcomes, [firsts[user_id] for user_id in sorted(held)])

        return commit

    def absorb_apart(self, batch: Sequence[Message]) -> Absorbed:
        """Absorbs a batch that met somebody's lock; if it does so again, in halves what no lock keeps out.

        The rest is to come again. Raises as committing does, and `Contended` where a table is locked and not a row.
        """
        until = time.monotonic() + self._apart_within
        with suppress(Contended):
            return self.prepare(batch, LOCK_TIMEOUT)()
        self._require_tables()
        absorbed = absorb_in_halves(
            batch,
            lambda part: self.prepare(part, LOCK_TIMEOUT)(),
            is_over=lambda: time.monotonic() > until,
        )
        if len(absorbed.requeued) == len(batch):  # perhaps it has been locked since
            self._require_tables()
        return absorbed

    def _require_tables(self) -> None:
        with self._database.transaction(LOCK_TIMEOUT) as tx:
            insert.require_tables(tx)

    def _absorb_one_by_one(self, batch: Sequence[Message], refusal: Rejected, lock_timeout: float | None) -> Absorbed:
        """Postgres refused a value that decoding let through: find the message, so that the others get in."""
        absorbed = Absorbed()
        if len(batch) > 1:
            for message in batch:
                absorbed.add(self.prepare([message], lock_timeout)())
            return absorbed
        self._commit([], [(batch[0], refusal)], lock_timeout)
        return Absorbed(Counter({(batch[0].topic, "quarantined"): 1}))

    def _commit(
        self,
        rows: Sequence[NewProvisioning],
        refused: Sequence[tuple[Message, Rejected]],
        lock_timeout: float | None,
    ) -> tuple[set[str], set[str], set[str]]:
        """One transaction; `rows` are in key order. Returns the users that are new, those whose rows are held, and
        those who were erased, or are being so."""
        now = self._now()
        with self._dispatcher.reserve(Counter(row.lane for row in rows)) as reservation:
            for row in rows:
                row.leased = reservation.take(row.lane)
            deadline = Deadline.after(self._leases.length.total_seconds(), self._leases.clock)
            new: set[str] = set()
            held: set[str] = set()
            erased: set[str] = set()
            leased: list[Provisioning] = []
            with self._database.transaction(lock_timeout) as tx:
                if rows:
                    new, leased = insert.insert_new(tx, rows, lease=self._leases.length, stripe_now=self._leases.now())
                if len(new) < len(rows):
                    _, held, erased = insert.replace_quarantined(tx, [row for row in rows if row.user_id not in new])
                if refused:
                    quarantine.add(tx, [self._refused(message, refusal, now) for message, refusal in refused])
            reservation.hand_over(Lease(row, deadline) for row in leased)
        self._metrics.newly_found(sum(row.lane is Lane.BACKFILL for row in rows if row.user_id in new))
        for message, refusal in refused:
            self._metrics.quarantined(refusal.reason)
            self._log.warning("message.quarantined", topic=message.topic, reason=refusal.reason, detail=refusal.detail)
        for user_id in sorted(erased):
            self._log.info("message.erased", user_id=user_id)
        return new, held, erased

    def _refused(self, message: Message, refusal: Rejected, now: datetime) -> QuarantinedMessage:
        return QuarantinedMessage(
            topic=message.topic,
            nsq_message_id=message.id.decode("ascii", "replace"),
            reason=refusal.reason,
            detail=refusal.detail,
            sealed_body=self._sealer.seal(message.body, message.topic.encode()),
            body_digest=self._sealer.fingerprint(message.body),
            published_at=message.published_at,
            expires_at=now + self._quarantine_for,
        )


def _came_to(batch: Sequence[Message], outcomes: Sequence[tuple[str, str]], held: Sequence[Message]) -> Absorbed:
    """What `batch` came to: `outcomes` as (topic, outcome), those that are `held`, and all others were known."""
    absorbed = requeued(held)
    known = Counter(message.topic for message in batch)
    known.subtract(topic for topic, _ in (*outcomes, *absorbed.counts.elements()))
    absorbed.counts.update(outcomes)
    absorbed.counts += Counter({(topic, "known"): count for topic, count in known.items()})
    return absorbed

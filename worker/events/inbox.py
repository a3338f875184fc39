"""Takes Stripe's events from NSQ into our tables; a message is finished only after what it says is committed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from worker.domain.event import Event
from worker.domain.messages import Absorbed, Message, requeued
from worker.errors import Contended, Rejected, TryLater, Unavailable, Unforeseen
from worker.events import absorption
from worker.events.absorption import Decided
from worker.events.customer_news import CustomerNews
from worker.events.envelope import Envelopes
from worker.events.heard import Heard
from worker.events.snapshots import PlanOf, Said
from worker.events.surroundings import Surroundings
from worker.sealing import Sealer
from worker.store import charges, events, quarantine, refreshes, subscriptions
from worker.store.engine.database import Database
from worker.store.engine.errors import EventsHeardTwice
from worker.store.events import Days
from worker.store.quarantine import QuarantinedMessage
from worker.telemetry import Metrics

LOCK_TIMEOUT = 0.3
"""Seconds to wait for somebody's lock where a batch is absorbed one by one."""

MOST_CRASHES = 33
"""So often an event is delivered that nobody foresaw, before it is set aside: some half an hour, in which a release may
come that takes it. It would hold the poller's cursor."""

KEPT, FORGOTTEN_AT_ONCE = timedelta(days=400), 10_000
"""For so long it is known which subscriptions are nobody's (one that lives has an event each year at least, which
records it anew), and with which cards an invoice was tried. And so many are forgotten at once."""

_NO_DAYS = Days(datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))


class EventInbox:
    """Absorbs batches: `prepare`, then what it returned; `absorb_apart` where a lock keeps a batch out again.

    `livemode`: the mode of our key. `wake` hears that Stripe is to be asked for something. `apart_within`: seconds that
    absorbing one by one may take. `wake_charging` hears that invoices are to be looked at whose payment failed; None:
    none are.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        metrics: Metrics,
        *,
        namespace: str,
        plan_of: PlanOf,
        livemode: bool,
        wake: Callable[[], None],
        quarantine_for: timedelta,
        now: Callable[[], datetime],
        apart_within: float,
        wake_charging: Callable[[], None] | None = None,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._envelopes = Envelopes(sealer)
        self._metrics = metrics
        self._namespace = namespace
        self._plan_of = plan_of
        self._livemode = livemode
        self._wake = wake
        self._quarantine_for = quarantine_for
        self._now = now
        self._apart_within = apart_within
        self._wake_charging = wake_charging
        self._days = _NO_DAYS
        self._expects_news = True
        self._log = structlog.get_logger(__name__)

    def maintain(self) -> None:
        """Makes the partitions of the days to come, and drops those that are past; asks for what was nobody's and is
        somebody's now, and for tries without an answer; forgets what has been nobody's for long, and tries of long
        ago. At the start, and each hour."""
        with self._database.transaction() as tx:
            self._days = events.maintain_days(tx)
        with self._database.transaction() as tx:
            refreshes.revisit(tx)
            events.prune_unmatched(tx, KEPT, FORGOTTEN_AT_ONCE)
            charges.remark(tx)
            charges.prune(tx, KEPT, FORGOTTEN_AT_ONCE)

    def prepare(self, batch: Sequence[Message], lock_timeout: float | None = None) -> Callable[[], Absorbed]:
        """Opens and reads `batch`; what it returns commits that, on any thread. Committing raises `Unavailable` or
        `TryLater`: then nothing is known to be committed, and the same batch may be prepared and committed again."""
        heard = Heard(batch, self._envelopes, self._plan_of)
        if self._expects_news:  # while the batch before is being committed; what is mostly known need not be read
            with suppress(Exception):  # the commit meets it again, and finds whose it is
                heard.read()

        def commit() -> Absorbed:
            try:
                decided = self._committed(heard, lock_timeout)
            except (Unavailable, TryLater):
                raise
            except Exception as refusal:  # noqa: BLE001 - one that nobody foresaw must not keep the others out
                return self._absorb_one_by_one(batch, refusal)
            self._tell(heard, decided)
            return _came_to(batch, heard, decided)

        return commit

    def absorb_apart(self, batch: Sequence[Message]) -> Absorbed:
        """Absorbs one by one a batch that met somebody's lock; what still does is to come again. Raises `Contended`
        where everything does."""
        until = time.monotonic() + self._apart_within
        absorbed = Absorbed()
        for message in batch:
            try:
                if time.monotonic() > until:
                    raise Contended("there is no time left for it")  # noqa: TRY301 - handled as what it stands for
                absorbed.add(self.prepare([message], LOCK_TIMEOUT)())
            except Contended:
                absorbed.add(requeued([message]))
        if len(absorbed.requeued) == len(batch):
            raise Contended("everything that was heard is locked by somebody")
        return absorbed

    def _absorb_one_by_one(self, batch: Sequence[Message], refusal: Exception) -> Absorbed:
        """Something was refused: find the message, so that the others get in."""
        absorbed = Absorbed()
        if len(batch) > 1:
            for message in batch:
                absorbed.add(self.prepare([message])())
            return absorbed
        if isinstance(refusal, Rejected):
            return self._aside(batch[0], refusal)
        self._log.critical("event.unforeseen", exc_info=refusal)
        if isinstance(refusal, Unforeseen) or batch[0].attempts < MOST_CRASHES:  # the tables' fault is no event's
            return requeued(batch)
        return self._aside(batch[0], Rejected("event_unforeseen", f"it ends in a {type(refusal).__name__} here"))

    def _aside(self, message: Message, refusal: Rejected) -> Absorbed:
        self._set_message_aside(message, refusal)
        self._tell_refused(message, refusal)
        return Absorbed(Counter({(message.topic, "quarantined"): 1}))

    def _set_message_aside(self, message: Message, refusal: Rejected) -> None:
        """In quarantine, and recorded as that, so that no poll brings it again and again."""
        with self._database.transaction() as tx:
            quarantine.add(tx, [self._quarantined(message, refusal, self._now())])
        with suppress(Rejected, TryLater), self._database.transaction() as tx:
            event = self._envelopes.open(message.body)
            if self._is_kept(event):
                events.record(tx, [event], ["quarantined"])

    def _committed(self, heard: Heard, lock_timeout: float | None) -> Decided:
        """At once again where the batch that is committed beside this one has recorded some: they are known by now."""
        try:
            return self._commit(heard, lock_timeout)
        except EventsHeardTwice:
            return self._commit(heard, lock_timeout)

    def _commit(self, heard: Heard, lock_timeout: float | None) -> Decided:
        with self._database.transaction(lock_timeout) as tx:
            known = events.known(tx, heard.created) if heard.events else set()
            self._expects_news = len(known) <= len(heard.events) / 2
            fresh = heard.read(known)
            set_aside, fit = self._set_aside(fresh)
            ids = sorted({each.subscription_id for each in fit if each.subscription_id is not None})
            news = CustomerNews(tx, fit, self._now())
            concerned = news.concerned
            rows = subscriptions.locked(tx, ids, concerned) if ids or concerned else {}
            around = Surroundings(tx, self._namespace, fit, rows, news)
            decided = absorption.decide(fit, rows, around, heard.attempts)
            decided.outcomes.update({each.event.id: "wrong_mode" for each in set_aside if self._is_kept(each.event)})
            news.write(tx)
            absorption.write(tx, [each for each in fresh if self._is_kept(each.event)], decided)
            if late := sorted(
                {each.subscription_id for each in set_aside if each.subscription_id and self._is_late(each)}
            ):
                refreshes.mark(tx, late)
            if self._wake_charging is not None and decided.failing:
                charges.mark(tx, decided.failing)
            if heard.refused:
                now = self._now()
                quarantine.add(tx, [self._quarantined(message, refusal, now) for message, refusal in heard.refused])
        decided.outcomes.update({each.event.id: "out_of_range" for each in set_aside if not self._is_kept(each.event)})
        if decided.marked or late:
            self._wake()
        if self._wake_charging is not None and decided.failing:
            self._wake_charging()
        return decided

    def _set_aside(self, said: Sequence[Said]) -> tuple[list[Said], list[Said]]:
        """Events of the other mode, and of subscriptions such as no partition holds; and those that are judged. What a
        customer's says can't be fetched: it is judged, and not recorded."""
        aside = [
            each
            for each in said
            if each.event.livemode != self._livemode or (self._is_late(each) and each.subscription_id is not None)
        ]
        taken = {each.event.id for each in aside}
        return aside, [each for each in said if each.event.id not in taken]

    def _is_kept(self, event: Event) -> bool:
        return self._days.hold(event.created)

    def _is_late(self, said: Said) -> bool:
        """What no partition holds is passed, and its subscription is fetched instead."""
        return not self._is_kept(said.event) and said.event.livemode == self._livemode

    def _tell(self, heard: Heard, decided: Decided) -> None:
        for outcome, count in Counter(decided.outcomes.values()).items():
            self._metrics.events(outcome, count)
        self._metrics.events("waiting", len(decided.waiting))
        self._metrics.events("duplicate", len(heard.events) - len(decided.outcomes) - len(decided.waiting))
        if heard.keyless:
            self._log.warning("envelope.postponed", messages=len(heard.keyless))
        for customer_id, other in decided.conflicts:
            self._log.error("customer.conflicting", stripe_customer_id=customer_id, other=other)
        if wrong := [each for each, outcome in decided.outcomes.items() if outcome == "wrong_mode"]:
            self._log.error("event.wrong_mode", events=len(wrong), first=wrong[0])
        for message, refusal in heard.refused:
            self._tell_refused(message, refusal)

    def _tell_refused(self, message: Message, refusal: Rejected) -> None:
        self._metrics.quarantined(refusal.reason)
        self._log.warning("message.quarantined", topic=message.topic, reason=refusal.reason, detail=refusal.detail)

    def _quarantined(self, message: Message, refusal: Rejected, now: datetime) -> QuarantinedMessage:
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


def _came_to(batch: Sequence[Message], heard: Heard, decided: Decided) -> Absorbed:
    """Each message counted once; all are of one topic."""
    topic = batch[0].topic
    waiting = [*heard.keyless, *(heard.firsts[each] for each in sorted(decided.waiting))]
    counts = Counter(
        {
            (topic, "new"): len(decided.outcomes),
            (topic, "quarantined"): len(heard.refused),
            (topic, "requeued"): len(waiting),
        }
    )
    counts[(topic, "known")] = len(batch) - counts.total()
    return Absorbed(+counts, waiting)

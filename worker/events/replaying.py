"""Has events taken in again, as if they were heard for the first time (`subkeeper events replay`).

That is safe by the rules themselves: what is older than its row changes nothing, what can't be told is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from worker.domain.deadline import Deadline
from worker.domain.drift import Difference
from worker.domain.event import Event
from worker.domain.lanes import Lane
from worker.errors import Rejected, SubkeeperError
from worker.events import absorption
from worker.events.comparing import Comparison
from worker.events.customer_news import CustomerNews
from worker.events.envelope import Envelopes
from worker.events.patience import Patience
from worker.events.reading import pruned
from worker.events.snapshots import PlanOf, read
from worker.events.surroundings import Surroundings
from worker.events.vanished import is_missing
from worker.store import event_list, subscriptions
from worker.store.engine.clock import transaction_time
from worker.store.engine.database import Database
from worker.stripe_api.errors import Refused
from worker.stripe_api.gateway import StripeGateway

BATCH = 100
"""Events that are published at once."""

SOURCE = "replay"

Publish = Callable[[Sequence[bytes]], None]
"""Publishes messages on the topic of events. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of an event, or would. `outcome`: `published`; `gone`, which Stripe has no longer; `refused`, which
    isn't as Stripe's are; in a dry run, what it would come to. `differences` that it would make to the subscription's
    row (before, after), by its snapshot or by the fetch that it would cause."""

    event_id: str
    outcome: str
    type: str | None = None
    stripe_subscription_id: str | None = None
    differences: tuple[Difference, ...] = ()


class NotPublished(SubkeeperError):
    """nsqd didn't confirm events that are off the list of those that were heard."""

    def __init__(self, event_ids: Sequence[str], why: SubkeeperError) -> None:
        ids = " ".join(event_ids)
        super().__init__(f"{why}. What these did stays, but they are on no list until they are replayed: {ids}")


class EventSource:
    """Stripe's events by their ids, in the fields that we keep."""

    def __init__(self, gateway: StripeGateway, patiently: Patience) -> None:
        self._gateway = gateway
        self._patiently = patiently

    def event(self, event_id: str) -> Event | None:
        """None: Stripe has none of that id, or no longer. Raises `Rejected` for what isn't as Stripe's events are."""
        try:
            return pruned(self._patiently(partial(self._retrieve, event_id)), SOURCE)
        except Refused as refused:
            if not is_missing(refused):
                raise
            return None

    def _retrieve(self, event_id: str, deadline: Deadline) -> dict[str, object]:
        return dict(self._gateway.event(event_id, lane=Lane.BACKFILL, deadline=deadline))


class Replay:
    """Events, by their ids, in batches."""

    def __init__(self, database: Database, source: EventSource) -> None:
        self._database = database
        self._source = source

    def publish(self, event_ids: Sequence[str], envelopes: Envelopes, publish: Publish) -> Iterator[Replayed]:
        """Each is published once it is off the list of those that were heard: else its message would be dropped."""
        for start in range(0, len(event_ids), BATCH):
            found, told = self._fetch(event_ids[start : start + BATCH])
            yield from told
            if not found:
                continue
            bodies = [envelopes.seal(event) for event in found]
            ids = [event.id for event in found]
            self._forget(ids)
            try:
                publish(bodies)
            except SubkeeperError as error:
                raise NotPublished(ids, error) from error
            yield from (Replayed(event.id, "published", event.type) for event in found)

    def preview(
        self, event_ids: Sequence[str], namespace: str, plan_of: PlanOf, comparison: Comparison
    ) -> Iterator[Replayed]:
        """What would become of each by itself."""
        for event_id in event_ids:
            found, told = self._fetch([event_id])
            yield from told
            for event in found:
                yield self._judged(event, namespace, plan_of, comparison)

    def _judged(self, event: Event, namespace: str, plan_of: PlanOf, comparison: Comparison) -> Replayed:
        said = read(event, plan_of)
        identifier = said.subscription_id
        with self._database.transaction() as tx:
            news = CustomerNews(tx, [said], transaction_time(tx))
            rows = subscriptions.locked(tx, [identifier] if identifier is not None else [], news.concerned)
            around = Surroundings(tx, namespace, [said], rows, news)
        decided = absorption.decide([said], rows, around, lambda _: 1)
        outcome = decided.outcomes.get(event.id, "waiting")
        if identifier is not None and identifier in decided.marked:
            finding = comparison.ask(identifier)
            differences = finding.differences if finding is not None else ()
        else:
            differences = tuple(
                Difference(name, change.before[name] if change.before is not None else None, value)
                for change in decided.changes
                for name, value in (change.after or {}).items()
                if change.before is None or change.before[name] != value
            )
        return Replayed(event.id, outcome, event.type, identifier, differences)

    def _fetch(self, event_ids: Sequence[str]) -> tuple[list[Event], list[Replayed]]:
        found, told = [], []
        for event_id in event_ids:
            try:
                event = self._source.event(event_id)
            except Rejected:
                told.append(Replayed(event_id, "refused"))
                continue
            if event is None:
                told.append(Replayed(event_id, "gone"))
            else:
                found.append(event)
        return found, told

    def _forget(self, event_ids: Sequence[str]) -> None:
        with self._database.transaction() as tx:
            event_list.remove(tx, event_ids)

"""`subkeeper events`, put together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from worker.domain.event import Event
from worker.domain.subscription import Subscription
from worker.errors import SubkeeperError
from worker.events.envelope import Envelopes
from worker.events.patience import Patience
from worker.events.replaying import EventSource, Replay, Replayed
from worker.events.snapshots import read
from worker.runtime.account import open_account
from worker.runtime.operations import open_database, open_publisher
from worker.runtime.verifying import comparison
from worker.sealing import Sealer
from worker.settings.model import Settings
from worker.store import drift, event_list, subscriptions
from worker.store.event_list import Chosen, HeardEvent

PUBLISH_SECONDS = 5.0
"""For nsqd's OK to a batch."""


def heard(settings: Settings, user_id: str | None, chosen: Chosen, *, limit: int, offset: int = 0) -> list[HeardEvent]:
    """The newest of the chosen events, of this user's objects where one is given.

    Raises `SubkeeperError` where nobody knows the user.
    """
    with open_database(settings, "events") as database, database.transaction() as tx:
        if user_id is not None:
            if not drift.known_users(tx, [user_id]):
                raise SubkeeperError(f"no user {user_id!r} in our tables")
            chosen = chosen._replace(objects=event_list.objects_of(tx, user_id))
        return event_list.page(tx, chosen, limit=limit, offset=offset)


@dataclass(frozen=True, slots=True)
class Shown:
    """An event at Stripe (None: it has none of that id, or no longer), as we heard it, and the row that it is about."""

    event: Event | None
    heard: HeardEvent | None
    row: Subscription | None


def show(settings: Settings, event_id: str, rng: random.Random) -> Shown:
    with open_account(settings, "events", rng) as account:
        event = EventSource(account.gateway, Patience(account.meter)).event(event_id)
        with account.database.transaction() as tx:
            found = event_list.find(tx, [event_id]).get(event_id)
            identifier = None
            if event is not None:
                identifier = read(event, account.catalogue.plan_of).subscription_id
            elif found is not None:
                identifier = found.object_id
            row = subscriptions.read(tx, [identifier]).get(identifier) if identifier is not None else None
    return Shown(event, found, row)


def replay(
    settings: Settings,
    event_ids: Sequence[str],
    rng: random.Random,
    *,
    dry_run: bool,
    say_cost: Callable[[int], None],
) -> Iterator[Replayed]:
    """What became of each, or would. `say_cost` hears first how many reads of Stripe it takes."""
    with open_account(settings, "events", rng) as account, open_publisher(settings, rng) as publisher:
        say_cost(len(event_ids))
        account.meter.foresee(len(event_ids))
        patiently = Patience(account.meter)
        replaying = Replay(account.database, EventSource(account.gateway, patiently))
        if dry_run:
            compared = comparison(settings, account, patiently)
            yield from replaying.preview(event_ids, settings.namespace, account.catalogue.plan_of, compared)
            return
        envelopes = Envelopes(Sealer(settings.secret_keys()))
        topic = settings.nsq.events_topic
        yield from replaying.publish(
            event_ids, envelopes, lambda bodies: publisher.publish(topic, bodies, PUBLISH_SECONDS)
        )

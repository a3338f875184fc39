"""`subkeeper explain`: why a user's row is what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.domain.erasure import Erasure, ErasureState
from worker.domain.provisioning import Step, step_key
from worker.errors import SubkeeperError
from worker.runtime.operations import open_database
from worker.settings.model import Settings
from worker.store import deployment, erasures, event_list, timeline
from worker.store.engine.database import Database, Transaction
from worker.store.event_list import Chosen, HeardEvent
from worker.store.provisioning import views
from worker.store.provisioning.views import LedgerRow
from worker.store.timeline import AskedChange, ChangeRow, CustomerTimes, Failing, TriedCard, Waiting

PAYMENT_FAILED = "invoice.payment_failed"

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

MOST_EVENTS = 1000
"""So many events of a user, the newest, are told at most."""


class UserUnknown(SubkeeperError):
    """Nothing in our tables is of that user's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened at a time (UTC), or that waits for it. `about`: an id of Stripe's."""

    at: datetime
    what: str
    about: str | None
    fields: Mapping[str, object]

    def details(self) -> Iterator[tuple[str, object]]:
        """The fields that say something, those of what changed among them; of several values each by itself."""
        yield from _told(self.fields)


def _told(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _told(value)
        elif value is not None:
            yield name, _time(value)


def _time(value: object) -> object:
    """A change is kept as JSON, which has its times as text: told as any other."""
    return datetime.fromisoformat(value) if isinstance(value, str) and _RFC_3339.fullmatch(value) else value


def explain(settings: Settings, user_id: str, since: timedelta) -> list[Entry]:
    """What happened to the user, of our tables. Raises as `story` and `open_database` do."""
    with open_database(settings, "explain") as database:
        return story(database, settings.namespace, user_id, since)


def is_known(settings: Settings, user_id: str) -> bool:
    """Whether our tables have anything of the user. Raises as `open_database` does."""
    with open_database(settings, "explain") as database, database.question() as tx:
        return timeline.is_known(tx, user_id)


def story(database: Database, namespace: str, user_id: str, since: timedelta) -> list[Entry]:
    """In the order in which it happened: all that the ledger knows, and of events and changes what is younger than
    `since`. `namespace`: of a database that nobody has claimed. Raises `UserUnknown`."""
    with database.transaction() as tx:
        row = views.find(tx, user_id)
        asked = [] if row is None else list(_of_ledger(row, deployment.namespace(tx) or namespace))
        asked += _of_erasure(erasures.find(tx, user_id))
        others = sorted(_others(tx, row, user_id, since), key=lambda entry: entry.at)
    if not asked and not others:
        raise UserUnknown(f"no user {user_id!r} in our tables")
    # A request is dated by the lease that it is sent under: within a second the ledger's entries come as they follow.
    return sorted([*asked, *others], key=lambda entry: entry.at.replace(microsecond=0))


def _others(tx: Transaction, row: LedgerRow | None, user_id: str, since: timedelta) -> Iterator[Entry]:
    yield from _of_customers(timeline.customers(tx, user_id))
    objects = set(event_list.objects_of(tx, user_id))
    if row is not None:
        objects |= {each for each in (row.stripe_customer_id, row.stripe_subscription_id) if each is not None}
    heard = event_list.page(tx, Chosen(since, objects=sorted(objects)), limit=MOST_EVENTS)
    yield from map(_of_event, heard)
    for each in timeline.asked(tx, user_id, since):
        yield from _of_asked(each)
    yield from map(_of_change, timeline.changes(tx, user_id, since))
    yield from map(_of_mark, timeline.waiting(tx, sorted(objects)))
    tried = timeline.tries(tx, user_id, since)
    yield from map(_of_try, tried)
    named = {each.stripe_invoice_id for each in tried} | {
        each.object_id for each in heard if each.type == PAYMENT_FAILED
    }
    yield from map(_of_failing, timeline.failing(tx, sorted(each for each in named if each is not None)))


def _of_ledger(row: LedgerRow, namespace: str) -> Iterator[Entry]:
    """Of messages the ledger knows the first: later ones change nothing, unless the row is in quarantine. Of who was
    erased it knows nothing but that."""
    if row.erased_at is not None:
        return
    yield Entry(row.first_seen_at, "message absorbed", None, {"plan": row.plan, "trial_end": row.trial_end})
    asked = (
        (Step.CUSTOMER, row.customer_requested_at, row.customer_last_requested_at, row.stripe_customer_id),
        (Step.SUBSCRIPTION, row.subscription_requested_at, row.subscription_last_requested_at,
         row.stripe_subscription_id),
    )  # fmt: skip
    for step, first, last, answer in asked:
        if first is None:
            continue
        keys = [step_key(namespace, row.user_id, step, number) for number in range(1, row.generation + 1)]
        yield Entry(_within(row, first), f"{step.value} asked for", answer, {"idempotency_keys": keys})
        if last is not None and last != first:
            yield Entry(_within(row, last), f"{step.value} last asked for", answer, {"idempotency_key": keys[-1]})
    if row.completed_at is not None:
        yield Entry(row.completed_at, "completed", row.stripe_subscription_id, {})
    if row.state == "quarantined" and row.quarantined_at is not None:
        yield Entry(row.quarantined_at, "quarantined", None, {"last_error": row.last_error})
    elif row.completed_at is None and row.state != ErasureState.ERASING:
        fields = {"state": row.state, "attempts": row.attempts, "last_error": row.last_error}
        yield Entry(row.due_at, "due", None, fields)


def _of_erasure(found: Erasure | None) -> list[Entry]:
    if found is None:
        return []
    if found.erased_at is not None:
        return [Entry(found.erased_at, "erased", None, {})]
    at = found.asked_at
    return [] if at is None else [Entry(at, "erasure asked for", None, {"waits_for": found.waits_for})]


def _within(row: LedgerRow, asked_at: datetime) -> datetime:
    """When a request was sent. It is dated by another clock than the row, and yet came after its beginning and before
    its end."""
    return max(row.first_seen_at, min(asked_at, row.completed_at or asked_at))


def _of_customers(rows: Iterable[CustomerTimes]) -> Iterator[Entry]:
    for row in rows:
        yield Entry(row.created_at, "customer recorded", row.stripe_customer_id, {})
        if row.deleted_at is not None:
            yield Entry(row.deleted_at, "customer known as deleted", row.stripe_customer_id, {})


def _of_event(row: HeardEvent) -> Entry:
    """By when it was taken in; Stripe made it at `created`."""
    told = {"outcome": row.outcome, "source": row.source, "created": row.created}
    return Entry(row.processed_at, row.type, row.object_id, {"stripe_event_id": row.stripe_event_id, **told})


def _of_change(row: ChangeRow) -> Entry:
    before, after = row.before or {}, row.after or {}
    changed = {name: after.get(name) for name in {**before, **after} if before.get(name) != after.get(name)}
    fields = {"cause": row.cause, "version": row.version, "changed": changed, "published_at": row.sent_at}
    return Entry(row.created_at, "changed", row.stripe_subscription_id, fields)


def _of_asked(row: AskedChange) -> Iterator[Entry]:
    about, told = row.stripe_subscription_id, {"change": row.id}
    fields = {**told, "kind": row.kind, "caller": row.caller, "steps": list(row.steps)}
    yield Entry(row.created_at, "change asked for", about, fields)
    held = list(row.steps[: row.done])
    if row.ended_at is not None:
        yield Entry(row.ended_at, f"change {row.state}", about, {**told, "steps": held, "reason": row.code})
        return
    at = {"step": row.steps[row.done], "generation": row.generation, "attempts": row.attempts}
    yield Entry(row.due_at, "change due", about, {**told, "steps": held, **at, "last_error": row.last_error})


def _of_mark(row: Waiting) -> Entry:
    if row.missing_since is not None:
        fields: dict[str, object] = {"set_aside": True, "asked_again": row.due_at}
        return Entry(row.missing_since, "missing at Stripe", row.stripe_subscription_id, fields)
    fields = {"attempts": row.attempts, "under_way": row.leased, "last_error": row.last_error}
    return Entry(row.due_at, "to be fetched", row.stripe_subscription_id, fields)


def _of_try(row: TriedCard) -> Entry:
    what = "charge tried" if row.is_ours else "charge declined before"
    fields = {"payment_method": row.stripe_payment_method_id, "attempt": row.attempt_count}
    if row.is_ours:
        fields |= {"outcome": row.outcome or "no answer yet", "code": row.code, "answered_at": row.ended_at}
    return Entry(row.created_at, what, row.stripe_invoice_id, fields)


def _of_failing(row: Failing) -> Entry:
    fields = {"attempts": row.attempts, "under_way": row.leased, "last_error": row.last_error}
    return Entry(row.due_at, "payment to be looked at", row.stripe_invoice_id, fields)

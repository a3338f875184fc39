"""What a batch of events does to the database: decided row by row, written at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from worker.domain.default_card import UNSURE_FOR
from worker.domain.subscription import (
    WILL_END,
    Change,
    Subscription,
    Verdict,
    applied,
    charged,
    confirmed,
    given_default,
    judge,
    may_move,
    told_of_trial,
)
from worker.events.checkouts import Noted, note
from worker.events.customer_news import CustomerNews
from worker.events.snapshots import Said
from worker.events.surroundings import Surroundings, is_notice
from worker.store import checkouts, customers, events, refreshes, subscriptions
from worker.store.engine.database import Transaction
from worker.store.provisioning import pointers

PAYMENT_FAILED = "invoice.payment_failed"

NOBODYS = frozenset({"unmatched", "tombstoned"})
"""Outcomes of events that are about nobody of ours."""

MOST_WAITS, MOST_WAITS_OF_A_NOTICE = 6, 1500
"""So often an event is requeued that may be our own doing, before Stripe is asked (some three minutes), and one whose
notice can't be written yet, which no fetch brings back (a day, while a signup or a fetch is under way)."""


@dataclass(slots=True)
class Decided:
    """What is to be written. `outcomes` by the event's id; those in `waiting` are to come again. `unsure`: through
    which subscriptions customers are asked for, a little later than `marked`.

    `failing`: invoices whose payment has failed; `confirmed`: rows of which was heard that they are right. None of
    their columns changes, but an answer that was asked for before may be older than that, and must not be written.
    """

    rows: dict[str, Subscription]
    changes: list[Change] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    marked: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    confirmed: set[str] = field(default_factory=set)
    unmatched: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    conflicts: list[tuple[str, str]] = field(default_factory=list)
    checkouts: Noted = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)

    def write_row(self, row: Subscription, change: Change | None) -> None:
        self.rows[row.id] = row
        self.touched.add(row.id)
        if change is not None:
            self.changes.append(change)


def decide(
    said: Sequence[Said],
    rows: Mapping[str, Subscription],
    around: Surroundings,
    attempts: Callable[[str], int],
) -> Decided:
    """What becomes of events in the order of `created`. `attempts`: how often one has been delivered, by its id."""
    decided = Decided(dict(rows))
    for each in sorted(said, key=lambda one: (one.event.created, one.event.id)):
        outcome = _decide(each, decided, around, attempts(each.event.id))
        if outcome is None:
            decided.waiting.add(each.event.id)
        else:
            decided.outcomes[each.event.id] = outcome
            if each.event.type == PAYMENT_FAILED and each.subscription_id is not None and outcome not in NOBODYS:
                decided.failing.add(each.event.object_id)
    _take_defaults(decided, around.news)
    return decided


def _take_defaults(decided: Decided, news: CustomerNews) -> None:
    """Into the rows of the customers' subscriptions. One whose default is in doubt is asked for with one of those, if
    there is any: else with the first that there will be."""
    theirs: dict[str, list[Subscription]] = {}
    for row in decided.rows.values():
        if row.customer_id in news.changed:
            decided.write_row(*given_default(row, news.known[row.customer_id].payment_method, "customer.updated"))
        if row.customer_id in news.in_doubt:
            theirs.setdefault(row.customer_id, []).append(row)
    decided.unsure.update(min(rows, key=lambda row: (row.is_terminal, row.id)).id for rows in theirs.values())


def _decide(said: Said, decided: Decided, around: Surroundings, attempts: int) -> str | None:
    kind = said.event.type
    if said.subscription_id is not None:
        row = decided.rows.get(said.subscription_id)
        if row is None:
            return _of_unknown(said, said.subscription_id, decided, around, attempts)
        if kind.startswith("invoice."):
            return _charged(said, row, decided)
        return _snapshot(said, row, decided)
    if kind.startswith("customer."):
        return _of_customer(said, decided, around, attempts)
    if kind.startswith("payment_method."):
        return _of_card(said, around)
    note(said.event, decided.checkouts)
    return "recorded"


def _snapshot(said: Said, row: Subscription, decided: Decided) -> str:
    created = said.event.created
    verdict = judge(row, created, said.state)
    if verdict is Verdict.APPLIED and said.state is not None:
        row, change = applied(row, said.state, created, said.event.type)
        decided.write_row(row, change)
        if change is None:
            decided.confirmed.add(row.id)
    if verdict is Verdict.CONFIRMED:
        decided.confirmed.add(row.id)
        if created > row.seen_to:
            row = confirmed(row, created)
            decided.write_row(row, None)
    if verdict is Verdict.REFRESHING:
        decided.marked.add(row.id)
    trial_end = said.fact.trial_end if said.fact is not None else row.state["trial_end"]
    if said.event.type == f"customer.subscription.{WILL_END}" and isinstance(trial_end, datetime):
        told, change = told_of_trial(row, trial_end, created)
        decided.write_row(told, change)
    return str(verdict)


def _charged(said: Said, row: Subscription, decided: Decided) -> str:
    if not said.comparable:
        decided.marked.add(row.id)
        return str(Verdict.REFRESHING)
    new, change = charged(row, said.charge, said.event.type)
    if change is None:
        return str(Verdict.CONFIRMED)
    decided.write_row(new, change)
    return str(Verdict.APPLIED)


def _of_unknown(said: Said, identifier: str, decided: Decided, around: Surroundings, attempts: int) -> str | None:
    """Of a subscription that has no row. Our own signup's is about to have one: that is waited for, and costs no read.
    So is a row that a fetch will make, where a notice has to be written to it; where none does, it is asked for a few
    times."""
    if around.is_removed(identifier):
        return "tombstoned"
    is_invoice = said.event.type.startswith("invoice.")
    if is_invoice and said.comparable and said.charge is None:
        return "recorded"  # a trial's, of 0
    owner, user_id = around.owner(said), around.user_of(said)
    if owner is not None and owner.deleted:
        return "tombstoned"
    if not around.may_be_ours(said):
        if said.customer_id is not None:
            decided.unmatched[identifier] = said.customer_id
        return "unmatched"
    notice = is_notice(said)
    may_wait = attempts <= (MOST_WAITS_OF_A_NOTICE if notice else MOST_WAITS)
    comes = (user_id is not None and around.is_unfinished(user_id)) or (notice and around.is_coming(identifier))
    if may_wait and (around.has_appeared(identifier) or (comes and not is_invoice)):
        return None
    decided.marked.add(identifier)
    return None if notice and attempts <= MOST_WAITS else str(Verdict.REFRESHING)


def _of_customer(said: Said, decided: Decided, around: Surroundings, attempts: int) -> str | None:
    """One that our own signup is about to commit begins without a card; what comes after that waits for it."""
    owner, customer_id = around.owner(said), said.event.object_id
    if said.event.type == "customer.deleted":
        user_id = around.user_of(said)
        if user_id is None:
            return "recorded"
        decided.deleted[customer_id] = user_id
        return str(Verdict.APPLIED)
    if owner is not None:
        return str(around.news.outcomes.get(said.event.id, Verdict.CONFIRMED))
    if other := around.other_customer(said):
        decided.conflicts.append((customer_id, other))
        return "conflicting"
    user_id = around.user_of(said)
    if user_id is None or not around.is_unfinished(user_id):
        return "unmatched"
    is_bare = said.event.type == "customer.created" and said.customer_default is None
    return "recorded" if is_bare or attempts > MOST_WAITS else None


def _of_card(said: Said, around: Surroundings) -> str:
    """Of the customer that had it, where it is detached. What is nobody's is listed once somebody looks."""
    owner = around.owner(said)
    if owner is None:
        return "unmatched"
    return "tombstoned" if owner.deleted else str(Verdict.APPLIED)


def write(tx: Transaction, said: Sequence[Said], decided: Decided) -> None:
    """Everything in key order. Raises `EventsHeardTwice`."""
    done = sorted((each.event for each in said if each.event.id in decided.outcomes), key=lambda event: event.id)
    if decided.touched:
        subscriptions.write(tx, [decided.rows[each] for each in sorted(decided.touched)], decided.changes)
        pointers.move(tx, {change.user_id for change in decided.changes if _ends_or_begins(change)})
    for customer_id, user_id in sorted(decided.deleted.items()):
        customers.bury(tx, user_id, customer_id)
        customers.mark_deleted(tx, customer_id)
    if done:
        events.record(tx, done, [decided.outcomes[event.id] for event in done])
    if decided.unmatched:
        events.add_unmatched(tx, sorted(decided.unmatched.items()))
    if decided.marked:
        refreshes.mark(tx, sorted(decided.marked))
    if decided.unsure:
        refreshes.mark(tx, sorted(decided.unsure), UNSURE_FOR)
    if decided.confirmed:
        refreshes.confirm(tx, sorted(decided.confirmed))
    if decided.checkouts:
        checkouts.mark(tx, [decided.checkouts[each] for each in sorted(decided.checkouts)])


def _ends_or_begins(change: Change) -> bool:
    """Whether it can move a user from one subscription to another."""
    name = "stripe_subscription_status"
    return may_move(None if change.before is None else change.before[name], change.after[name])

"""What an answer of Stripe's to a step comes to in our rows, in the transaction that the step's end is committed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from worker.accounts import card_rows
from worker.domain.account_changes import AccountChange, Kind
from worker.domain.default_card import DefaultCard
from worker.domain.invoice import charge
from worker.domain.stripe_facts import Answer, ExpandedCustomer, FetchedSubscription, SubscriptionFact
from worker.domain.subscription import fetched, may_move
from worker.store import answers, customers, refreshes, subscriptions
from worker.store.answers import Mark, Written
from worker.store.customer_defaults import FetchedDefault
from worker.store.engine.database import Transaction
from worker.store.provisioning import pointers

CAUSE = "requested"
"""Of the changes that answers make."""

PlanName = Callable[[SubscriptionFact], str]
"""What our tables call a subscription's plan."""


class Watched(NamedTuple):
    """What was known before something was asked of Stripe: of the subscription whose row was at `version`, where the
    answer is to be that, and of its customer's default payment method, where that may change."""

    version: int | None = None
    status: str | None = None
    mark: Mark | None = None
    default: DefaultCard | None = None


def take(
    tx: Transaction, identifier: str, watched: Watched, answer: Answer[FetchedSubscription], plan_name: PlanName
) -> Written | None:
    """Locks what a subscription that Stripe answered is about, and says what is still to be written; None: that is
    written, or isn't to be, as something was heard that may be newer."""
    found, seen = answer.value, (answer.seen_from, answer.seen_to)
    moves = may_move(watched.status, found.fact.status)
    if moves:  # nobody inserts another one of the customer's that the next statement doesn't see
        customers.locked(tx, [found.fact.customer_id])
    held = answers.hold(tx, identifier, moves=moves)
    if held is None:
        return None
    row = held.row
    if watched.mark is None or row.version != watched.version or not held.is_unmoved(watched.mark):
        refreshes.mark(tx, [identifier])
        return None
    default = FetchedDefault(held.owner, row.customer_id, found.customer_default, seen)
    told = charge(found.latest_invoice) if found.latest_invoice is not None else None
    state = found.fact.columns(plan_name(found.fact))
    new, change = fetched(row, state, told, seen, CAUSE, customer_default=default.payment_method)
    is_wanted = held.was_wanted(watched.mark)
    if not (moves or is_wanted or default.concerned or default.sure_after is not None):
        return Written(new, change, default.moved)
    answers.confirm(tx, identifier, wanted=is_wanted)
    others = subscriptions.locked(tx, [], default.concerned) if default.concerned else {}
    default.write(tx, [each for each in others.values() if each.id != identifier], CAUSE)
    subscriptions.write(tx, [new], [change] if change is not None else [])
    if moves:
        pointers.move(tx, {row.user_id})
    if default.sure_after is not None:
        refreshes.mark(tx, [identifier], default.sure_after)
    return None


def take_default(
    tx: Transaction, change: AccountChange, beside: DefaultCard | None, answer: Answer[ExpandedCustomer]
) -> None:
    """Writes a customer's default payment method, and which one was taken from it, if that is what was asked for;
    `beside`: what was known before. Marks come last, as they are locked after subscriptions."""
    said, seen = answer.value.default_payment_method, (answer.seen_from, answer.seen_to)
    default = FetchedDefault.locking(tx, str(change.stripe_customer_id), said, seen, beside)
    theirs = subscriptions.locked(tx, [], default.concerned) if default.concerned else {}
    default.write(tx, list(theirs.values()), CAUSE)
    if change.kind is Kind.DETACHMENT:
        card_rows.detached(tx, change, answer.seen_to)
    if default.sure_after is not None and change.stripe_subscription_id is not None:
        refreshes.mark(tx, [change.stripe_subscription_id], default.sure_after)

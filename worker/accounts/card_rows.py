"""Payment methods' rows follow the changes that take them from their customers, in the same transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from worker.accounts.paying import paid_for
from worker.domain.account_changes import AccountChange, ChangeRefused, Wish
from worker.store import payment_methods, refreshes, subscriptions
from worker.store.account_changes import NewChange
from worker.store.engine.database import Transaction
from worker.store.payment_methods import Heard


def detachment_of(tx: Transaction, wish: Wish, new: NewChange) -> NewChange:
    """The change, with whose the payment method is. Raises `ChangeRefused`, the same for one that is another user's as
    for one that isn't there."""
    found = paid_for(tx, wish.user_id)
    kept = [] if found is None else payment_methods.kept(tx, found.customer_id)
    if found is None or wish.about["payment_method"] not in {each.id for each in kept if each.is_attached}:
        raise ChangeRefused("no_payment_method", _NONE)
    # The customer's default is asked through the subscription, if in doubt.
    return replace(new, stripe_customer_id=found.customer_id, stripe_subscription_id=found.subscription_id)


def detached(tx: Transaction, change: AccountChange, at: datetime) -> None:
    """It is gone by `at` (Stripe's time), and those behind it move up. A subscription that it was the own default of is
    asked for: what that has now, Stripe says. The customer's row is locked."""
    customer_id, card = str(change.stripe_customer_id), str(change.wanted["payment_method"])
    payment_methods.detach(tx, [Heard(card, customer_id, at)])
    payment_methods.reorder(tx, [each.id for each in payment_methods.kept(tx, customer_id) if each.is_attached])
    theirs = subscriptions.locked(tx, [], [customer_id])
    charged = [row.id for row in theirs.values() if row.state.get("default_payment_method") == card]
    if charged:
        refreshes.mark(tx, charged)


_NONE = "the user has no such payment method"

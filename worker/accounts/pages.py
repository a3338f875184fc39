"""Which pages of Stripe's a user may be sent to, by what we know: told before anything is asked of Stripe."""

from __future__ import annotations

from dataclasses import replace

from worker.domain.account_changes import ChangeRefused, Kind, Wish
from worker.domain.accounts import UNSET
from worker.domain.portal import PORTAL_UPDATES, Intent, portal_refusal
from worker.domain.subscription import Subscription
from worker.store import checkouts, customers, subscriptions
from worker.store.account_changes import NewChange
from worker.store.engine.database import Transaction
from worker.store.provisioning import following


def page_for(tx: Transaction, wish: Wish, new: NewChange) -> NewChange:
    """The change that opens it, with whom and what it is for; of a checkout the row, too. Raises `ChangeRefused`."""
    new = replace(new, stripe_customer_id=customer_of(tx, wish.user_id))
    if wish.kind is Kind.PORTAL:
        return _portal(tx, wish, new)
    checkouts.insert(tx, wish.id, wish.user_id, None if wish.change.plan is UNSET else wish.change.plan)
    current = next(iter(subscriptions.current(tx, [wish.user_id])), None)
    return replace(new, stripe_subscription_id=current.id if current is not None else None)


def customer_of(tx: Transaction, user_id: str) -> str:
    """The user's customer at Stripe. Raises `ChangeRefused` where there is none (yet)."""
    if following.unfinished(tx, [user_id]):  # what the signup will come to decides
        raise ChangeRefused("signup_unfinished", "the user's signup is being settled: try again")
    customer_id = customers.living(tx, [user_id]).get(user_id)
    if customer_id is None:
        raise ChangeRefused("no_customer", "the user has no customer at Stripe: everybody has one by their signup")
    return customer_id


def _portal(tx: Transaction, wish: Wish, new: NewChange) -> NewChange:
    intent = Intent(wish.about["intent"])
    if intent is Intent.PAYMENT_METHOD:
        return new
    row = _managed(tx, wish)
    if intent is Intent.UPDATE and row.state["stripe_subscription_status"] not in PORTAL_UPDATES:
        raise portal_refusal(intent)
    return replace(new, stripe_subscription_id=row.id)


def _managed(tx: Transaction, wish: Wish) -> Subscription:
    """The one that is named, else the one that the user has."""
    living = subscriptions.living(tx, wish.user_id)
    if (named := wish.about.get("subscription_id")) is not None:
        found = [row for row in living if row.id == named]
        if not found:
            raise ChangeRefused("no_subscription", "the user has no such subscription that hasn't ended")
        return found[0]
    current = {row.id for row in subscriptions.current(tx, [wish.user_id])}
    found = [row for row in living if row.id in current] or living
    if not found:
        raise ChangeRefused("no_subscription", "the user has none that hasn't ended")
    if len(found) > 1:
        raise ChangeRefused("several_subscriptions", "the user has several: say which (subscription_id)")
    return found[0]

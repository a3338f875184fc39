"""Which pages of Stripe's a user may be sent to, by what we know: told before anything is asked of Stripe."""

from __future__ import annotations

from dataclasses import replace

from worker.accounts.paying import payer_of
from worker.domain.account_changes import ChangeRefused, Kind, Wish
from worker.domain.accounts import UNSET
from worker.domain.portal import PORTAL_UPDATES, Intent, portal_refusal
from worker.domain.subscription import Subscription
from worker.store import checkouts, subscriptions
from worker.store.account_changes import NewChange
from worker.store.engine.database import Transaction


def page_for(tx: Transaction, wish: Wish, new: NewChange) -> NewChange:
    """The change that opens it, with whom and what it is for; of a checkout the row, too. Raises `ChangeRefused`."""
    found = payer_of(tx, wish.user_id)
    new = replace(new, stripe_customer_id=found.customer_id)
    if wish.kind is Kind.PORTAL:
        return _portal(tx, wish, new)
    checkouts.insert(tx, wish.id, wish.user_id, None if wish.change.plan is UNSET else wish.change.plan)
    return replace(new, stripe_subscription_id=found.subscription_id)


def _portal(tx: Transaction, wish: Wish, new: NewChange) -> NewChange:
    intent = Intent(wish.about["intent"])
    if intent is Intent.PAYMENT_METHOD:
        return new
    row = _managed(tx, wish, str(new.stripe_customer_id))
    if intent is Intent.UPDATE and row.state["stripe_subscription_status"] not in PORTAL_UPDATES:
        raise portal_refusal(intent)
    return replace(new, stripe_subscription_id=row.id)


def _managed(tx: Transaction, wish: Wish, customer_id: str) -> Subscription:
    """The one that is named, else the one that the user has, on this customer."""
    living = [row for row in subscriptions.living(tx, wish.user_id) if row.customer_id == customer_id]
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

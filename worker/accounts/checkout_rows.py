"""Pages of Checkout's that are complete become changes; and their rows follow what comes of the changes that are about
them, in the same transaction."""

from __future__ import annotations

import uuid
from dataclasses import replace
from uuid import UUID

from worker.accounts.paying import charged
from worker.domain.account_changes import AccountChange, ChangeRefused, Kind
from worker.domain.checkouts import CheckoutState, completing_steps
from worker.store import account_changes, checkouts, erasures, owners, refreshes, subscriptions, tombstones
from worker.store.account_changes import NewChange
from worker.store.checkouts import COMPLETING, Complete, Standing, Told
from worker.store.engine.database import Database, Transaction

TAKEN_UP_AT_ONCE = 50

_URLS = frozenset({"success_url", "cancel_url", "return_url", "url"})


class PageRows:
    """What is read and noted of pages while a change is made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, change: AccountChange) -> list[Standing]:
        """The user's other pages that haven't ended."""
        with self._database.question() as tx:
            return checkouts.standing(tx, change.user_id, change.id)

    def heard(self, told: Told) -> None:
        """What Stripe says of a page when it is asked, as an event would."""
        with self._database.transaction() as tx:
            checkouts.mark(tx, [told])

    def of_user_there(self, change: AccountChange) -> dict[str, bool] | None:
        """Whether those subscriptions are the user's that have rows on the change's customer, where that is shared;
        None: it is theirs alone."""
        customer_id = str(change.stripe_customer_id)
        with self._database.question() as tx:
            if not owners.is_shared(tx, customer_id):
                return None
            found = subscriptions.users_on(tx, [customer_id])
        return {each: user_id == change.user_id for each, user_id in found.items()}

    def is_superseded(self, checkout_id: UUID) -> bool:
        with self._database.question() as tx:
            return checkouts.is_superseded(tx, checkout_id)

    def is_taken_in(self, user_id: str, subscription_id: str) -> bool:
        """Whether a subscription that a page has begun has its row; if not, it is asked for. Raises `ChangeRefused`
        where it was removed, or the user's erasure was asked for, which waits behind this: it gets none any more."""
        with self._database.transaction() as tx:
            if subscriptions.read(tx, [subscription_id]):
                return True
            if tombstones.among(tx, [subscription_id]):
                raise ChangeRefused("no_subscription", "the subscription was removed")
            if erasures.is_asked_for(tx, user_id):
                raise ChangeRefused("erased", "the user is being erased: nothing of theirs is taken in any more")
            refreshes.mark(tx, [subscription_id])
        return False


def take_up(tx: Transaction) -> None:
    """Each that is complete is a change from here on, made in its user's turn; later, where somebody has locked that
    user: nobody else's waits for it."""
    for each in checkouts.complete(tx, TAKEN_UP_AT_ONCE):
        if account_changes.try_to_lock_user(tx, each.user_id):
            account_changes.insert(tx, _completing(tx, each), None)
            checkouts.applying(tx, each.id)


def _completing(tx: Transaction, page: Complete) -> NewChange:
    on = charged(tx, page.user_id)
    plan = {"plan": page.plan} if page.plan is not None else {}
    return NewChange(
        id=uuid.uuid4(),
        kind=Kind.COMPLETION,
        user_id=page.user_id,
        caller=COMPLETING,
        idempotency_key=str(page.id),
        digest=b"",
        steps=completing_steps(page.mode, page.plan),
        wanted={"checkout": str(page.id), "session": page.session_id, **plan},
        sealed_email=None,
        stripe_customer_id=None if on is None else on.customer_id,
    )


def follow(tx: Transaction, change: AccountChange) -> None:
    """All its steps hold."""
    if change.kind is Kind.CHECKOUT:
        checkouts.opened(tx, change.id, str(change.wanted["session"]), str(change.wanted["mode"]))
    elif change.checkout_id is not None:
        checkouts.end(tx, change.checkout_id, CheckoutState.APPLIED)


def give_up(tx: Transaction, change: AccountChange, refused: ChangeRefused) -> None:
    """It can't be made. A decline is told by Stripe's code."""
    if change.checkout_id is None:
        return
    declined = refused.code == "card_declined" and refused.errors
    code = refused.errors[0].code if declined else refused.code
    state = CheckoutState.EXPIRED if code == "expired" else CheckoutState.FAILED
    checkouts.end(tx, change.checkout_id, state, code)


def without_urls(change: AccountChange) -> AccountChange:
    """What is kept of it: an address may hold more than we know of."""
    return replace(change, wanted={name: value for name, value in change.wanted.items() if name not in _URLS})

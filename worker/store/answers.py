"""SQL of steps whose answer is the subscription: it counts as a fetch that began when the request was sent.

What is about to be asked is written in one statement; so is what an answer comes to, mostly, once all that it is about
is locked (docs/design.md, *Accounts*).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, text

from worker.domain.account_changes import AccountChange
from worker.domain.default_card import DefaultCard
from worker.domain.subscription import Change, Subscription
from worker.store import account_changes, customers, refreshes, subscriptions
from worker.store.account_changes import BEGUN, FENCE
from worker.store.customers import Owner
from worker.store.engine.errors import LeaseLost

# Whoever writes to Stripe is about to hear what is so then: the mark is what is left of that if he dies.
_BEGIN = text(f"""
    WITH found AS MATERIALIZED (
        SELECT version, stripe_subscription_status FROM billing_subscriptions
        WHERE stripe_subscription_id = :subscription
    ), mark AS (
        INSERT INTO subscription_refreshes AS r (stripe_subscription_id, due_at)
        SELECT :subscription, now() + :lease FROM found
        WHERE CAST(:version AS bigint) IS NULL OR found.version = :version
        ON CONFLICT (stripe_subscription_id) DO UPDATE SET wanted = r.wanted
        RETURNING wanted, confirmed, marked_at, xmax = 0 AS is_new
    ), begun AS (
        UPDATE account_changes SET {BEGUN} {FENCE} AND EXISTS (SELECT FROM mark) RETURNING id
    )
    SELECT found.version, found.stripe_subscription_status, mark.wanted, mark.confirmed, mark.marked_at, mark.is_new,
        begun.id
    FROM found LEFT JOIN mark ON true LEFT JOIN begun ON true
""")  # noqa: S608 - constants

# In the order that docs/design.md has (*In which order rows are locked*): each part waits for the one before it.
_HOLD = text(f"""
    WITH owner AS MATERIALIZED (
        SELECT id, user_id, default_payment_method, default_seen_from, default_seen_to,
            deleted_at IS NOT NULL AS is_deleted
        FROM billing_customers WHERE id = (
            SELECT billing_customer_id FROM billing_subscriptions WHERE stripe_subscription_id = :subscription)
        FOR NO KEY UPDATE
    ), theirs AS MATERIALIZED (
        {subscriptions.ALL} WHERE s.billing_customer_id = (SELECT id FROM owner)
        ORDER BY s.stripe_subscription_id FOR UPDATE OF s
    ), ledger AS MATERIALIZED (
        SELECT FROM provisionings
        WHERE CAST(:moves AS boolean) AND (SELECT count(*) FROM theirs) > 0
            AND user_id = (SELECT user_id FROM theirs WHERE stripe_subscription_id = :subscription)
        FOR UPDATE
    ), mark AS MATERIALIZED (
        SELECT wanted, confirmed, marked_at, coalesce(lease_until > now(), false) AS is_leased
        FROM subscription_refreshes
        WHERE stripe_subscription_id = :subscription
            AND (SELECT count(*) FROM theirs) + (SELECT count(*) FROM ledger) > 0
        FOR UPDATE
    )
    SELECT theirs.*, owner.user_id AS own_user, owner.default_payment_method AS own_default, owner.default_seen_from,
        owner.default_seen_to, owner.is_deleted, mark.wanted, mark.confirmed, mark.marked_at, mark.is_leased
    FROM theirs CROSS JOIN owner LEFT JOIN mark ON true WHERE theirs.stripe_subscription_id = :subscription
""")  # noqa: S608 - constants

_UNWATCH = text("""
    DELETE FROM subscription_refreshes
    WHERE stripe_subscription_id = :id AND (wanted, confirmed, marked_at) = (:wanted, :confirmed, :marked_at)
        AND lease_until IS NULL
""")

_UNMARKED = "DELETE FROM subscription_refreshes WHERE stripe_subscription_id = :subscription"
_UNMARK = text(_UNMARKED)

WRITES = f"defaults AS ({customers.DEFAULTS}), {subscriptions.WRITTEN}, unmarked AS ({_UNMARKED})"
"""Parts of a statement that write an answer (`parameters`)."""
_WRITE = text(f"WITH {WRITES} SELECT 1")


class Mark(NamedTuple):
    """How far a subscription was wanted and confirmed so far, and since when: a fetch that was written meanwhile took
    the mark away, or moved that. `is_new`: nobody had asked for it before."""

    wanted: int
    confirmed: int
    marked_at: datetime
    is_new: bool


class Begun(NamedTuple):
    """The row as it is before that is asked. `mark` is None where nothing is to be asked: it has another version."""

    version: int
    status: str
    mark: Mark | None


class Held(NamedTuple):
    """What an answer is about, locked. `mark` as it is now, if it is there; `is_leased`: somebody fetches just now."""

    row: Subscription
    owner: Owner
    mark: Mark | None
    is_leased: bool

    def is_unmoved(self, watched: Mark) -> bool:
        """Whether nothing was heard since that may be newer."""
        now = self.mark
        return now is not None and (now.confirmed, now.marked_at) == (watched.confirmed, watched.marked_at)

    def was_wanted(self, watched: Mark) -> bool:
        """Whether it is to be fetched all the same: it was asked for since, or a fetch is under way, which may be
        older."""
        return self.is_leased or self.mark is None or self.mark.wanted != watched.wanted


class Written(NamedTuple):
    """What an answer comes to that takes its mark away; `default`: of the customer, where that has moved."""

    row: Subscription
    change: Change | None
    default: DefaultCard | None


def begin(tx: Connection, change: AccountChange, version: int | None, length: timedelta) -> Begun | None:
    """The present step is about to be asked for, as `account_changes.begin`, if the row of its subscription has this
    `version` (None: any); with a mark, due after `length`. None: there is no such row. Raises `LeaseLost`."""
    parameters = {
        "id": change.id,
        "token": change.token,
        "subscription": change.stripe_subscription_id,
        "version": version,
        **account_changes.beginning(change, length),
    }
    row = tx.execute(_BEGIN, parameters).one_or_none()
    if row is None:
        return None
    if row.wanted is None:
        return Begun(row.version, row.stripe_subscription_status, None)
    if row.id is None:
        raise LeaseLost(str(change.id))
    return Begun(row.version, row.stripe_subscription_status, Mark(*row[2:6]))


def unwatch(tx: Connection, stripe_subscription_id: str, watched: Mark) -> None:
    """Nothing came of that write: a mark that is there for it alone is taken away."""
    if watched.is_new:
        tx.execute(_UNWATCH, {"id": stripe_subscription_id, **watched._asdict()})


def hold(tx: Connection, stripe_subscription_id: str, *, moves: bool) -> Held | None:
    """Locks the row, its customer's, all others of that, and the mark, if they are there; with the ledger's row of its
    user, where the answer `moves` them to another subscription. None: there is no such row."""
    row = tx.execute(_HOLD, {"subscription": stripe_subscription_id, "moves": moves}).one_or_none()
    if row is None:
        return None
    default = DefaultCard(row.own_default, row.default_seen_from, row.default_seen_to)
    mark = None if row.wanted is None else Mark(row.wanted, row.confirmed, row.marked_at, is_new=False)
    return Held(subscriptions.of_row(row), Owner(row.own_user, row.is_deleted, default), mark, bool(row.is_leased))


def confirm(tx: Connection, stripe_subscription_id: str, *, wanted: bool) -> None:
    """The held row is known to be right; if it isn't `wanted` all the same, its mark is gone."""
    if wanted:
        refreshes.confirm(tx, [stripe_subscription_id])
    else:
        tx.execute(_UNMARK, {"subscription": stripe_subscription_id})


def write(tx: Connection, written: Written) -> None:
    """By itself. What it is about is held."""
    tx.execute(_WRITE, parameters(written))


def parameters(written: Written) -> dict[str, object]:
    """Those of `WRITES`."""
    row, default = written.row, written.default
    changes = [written.change] if written.change is not None else []
    return {
        "subscription": row.id,
        **customers.of_defaults({row.customer_id: default} if default is not None else {}),
        **subscriptions.of_rows([row], changes),
    }

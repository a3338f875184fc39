"""SQL of `billing_subscriptions`: rows are read under their locks, changed as `worker.domain.subscription` says, and
written back together with the outbox.

The caller gives ids and rows sorted: two transactions in opposite orders would deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from worker.domain.invoice import Charge, Charged
from worker.domain.owners import Owner, OwnerKind
from worker.domain.subscription import Change, State, Subscription, Value, as_json, charge_columns
from worker.store.engine import arrays

STATE = (
    "plan",
    "stripe_subscription_status",
    "canceling",
    "trial_start",
    "trial_end",
    "period_start",
    "period_end",
    "canceled_at",
    "ended_at",
    "default_payment_method",
)
"""The columns that a snapshot of Stripe's gives."""

USER = "CASE WHEN s.owner_project_id IS NULL THEN coalesce(s.owner_user_id, c.user_id) END"
"""Whose the row `s` is, on the customer `c`: of one that names no owner, the customer's own user's."""

THEIRS = """
    SELECT owned.id FROM billing_customers own JOIN billing_subscriptions owned
        ON owned.billing_customer_id = own.id AND owned.owner_user_id IS NULL AND owned.owner_project_id IS NULL
    WHERE own.user_id = :user_id
    UNION ALL SELECT id FROM billing_subscriptions WHERE owner_user_id = :user_id
"""
"""The rows of the subscriptions that are a user's, whoever's customer they are on, by index."""

ALL = f"""
    SELECT {USER} AS user_id, s.stripe_subscription_id, {", ".join(f"s.{name}" for name in STATE)},
        s.failed_charge_attempts, s.last_failed_charge, s.charge_invoice, s.charge_invoice_created,
        s.charge_invoice_paid, s.last_notified, s.notices, s.customer_default_payment_method, s.seen_from, s.seen_to,
        s.version, c.stripe_customer_id, s.owner_project_id, s.id AS number
    FROM billing_subscriptions s JOIN billing_customers c ON c.id = s.billing_customer_id
"""  # noqa: S608 - constants

_READ = text(f"""
    {ALL} WHERE s.stripe_subscription_id = ANY(CAST(:ids AS text[])) ORDER BY s.stripe_subscription_id
""")

# With all others of their customers', in one order: whoever ends one may have to write the one that its user has next.
_LOCKED = f"""
    {ALL} WHERE s.billing_customer_id IN (
        SELECT named.billing_customer_id FROM billing_subscriptions named
        WHERE named.stripe_subscription_id = ANY(CAST(:ids AS text[])) {{more}})
    ORDER BY s.stripe_subscription_id FOR UPDATE OF s
"""  # noqa: S608 - a constant
_LOCKED_BY_ID = text(_LOCKED.format(more=""))
# These customers' rows are locked: none of theirs can come meanwhile.
_LOCKED_WITH_CUSTOMERS = text(
    _LOCKED.format(
        more="""
        UNION ALL SELECT owner.id FROM billing_customers owner
        WHERE owner.stripe_customer_id = ANY(CAST(:customers AS text[]))"""
    )
)

# The few users' ledger rows first: whose a subscription is can't be looked up by an index.
_CURRENT = text(f"""
    WITH p AS MATERIALIZED (
        SELECT user_id, stripe_subscription_id FROM provisionings WHERE user_id = ANY(CAST(:user_ids AS text[]))
    )
    {ALL} JOIN p ON p.stripe_subscription_id = s.stripe_subscription_id AND p.user_id = {USER}
    WHERE c.deleted_at IS NULL
    ORDER BY p.user_id
""")  # noqa: S608 - constants

_LIVING = text(f"""
    {ALL} WHERE s.id IN ({THEIRS})
        AND c.deleted_at IS NULL AND s.stripe_subscription_status NOT IN ('canceled', 'incomplete_expired')
    ORDER BY s.stripe_created NULLS FIRST, s.stripe_subscription_id
""")

_USERS_ON = text(f"""
    SELECT s.stripe_subscription_id, {USER} AS user_id FROM billing_subscriptions s
    JOIN billing_customers c ON c.id = s.billing_customer_id
    WHERE c.stripe_customer_id = ANY(CAST(:customers AS text[]))
""")  # noqa: S608 - a constant

WRITTEN = """
    written AS (
        UPDATE billing_subscriptions s
        SET plan = new.plan, stripe_subscription_status = new.status, canceling = new.canceling,
            trial_start = new.trial_start, trial_end = new.trial_end,
            period_start = new.period_start, period_end = new.period_end,
            canceled_at = new.canceled_at, ended_at = new.ended_at,
            failed_charge_attempts = new.attempts, last_failed_charge = new.failed_at,
            charge_invoice = new.invoice, charge_invoice_created = new.invoice_created,
            charge_invoice_paid = new.paid,
            default_payment_method = new.own_default,
            customer_default_payment_method = new.customer_default,
            last_notified = new.last_notified, notices = string_to_array(new.notices, ' '),
            seen_from = new.seen_from, seen_to = new.seen_to, version = new.version,
            updated_at = CASE WHEN s.version = new.version THEN s.updated_at ELSE now() END
        FROM unnest(
            CAST(:ids AS text[]), CAST(:plans AS text[]), CAST(:statuses AS text[]), CAST(:canceling AS boolean[]),
            CAST(:trial_starts AS timestamptz[]), CAST(:trial_ends AS timestamptz[]),
            CAST(:period_starts AS timestamptz[]), CAST(:period_ends AS timestamptz[]),
            CAST(:canceled_at AS timestamptz[]), CAST(:ended_at AS timestamptz[]),
            CAST(:attempts AS int[]), CAST(:failed_at AS timestamptz[]), CAST(:invoices AS text[]),
            CAST(:invoices_created AS timestamptz[]), CAST(:paid AS boolean[]),
            CAST(:own_defaults AS text[]), CAST(:customer_defaults AS text[]),
            CAST(:last_notified AS timestamptz[]), CAST(:notices AS text[]),
            CAST(:seen_from AS timestamptz[]), CAST(:seen_to AS timestamptz[]), CAST(:versions AS bigint[])
        ) AS new (id, plan, status, canceling, trial_start, trial_end, period_start, period_end, canceled_at, ended_at,
                  attempts, failed_at, invoice, invoice_created, paid, own_default, customer_default, last_notified,
                  notices, seen_from, seen_to, version)
        WHERE s.stripe_subscription_id = new.id
    ), told AS (
        INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, before, after, cause, project_id)
        SELECT * FROM unnest(
            CAST(:told_users AS text[]), CAST(:told_ids AS text[]), CAST(:told_versions AS bigint[]),
            CAST(:before AS jsonb[]), CAST(:after AS jsonb[]), CAST(:causes AS text[]), CAST(:told_projects AS text[]))
    )
"""
"""Writes locked rows back, and their changes into the outbox (`of_rows`)."""
_WRITE = text(f"WITH {WRITTEN} SELECT 1")

_INSERT = text("""
    INSERT INTO billing_subscriptions
        (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status, canceling,
         trial_start, trial_end, period_start, period_end, canceled_at, ended_at, default_payment_method,
         customer_default_payment_method, seen_from, seen_to, stripe_created, owner_user_id, owner_project_id)
    SELECT id, :stripe_subscription_id, :plan, :stripe_subscription_status, :canceling,
           :trial_start, :trial_end, :period_start, :period_end, :canceled_at, :ended_at, :default_payment_method,
           default_payment_method, :seen_from, :seen_to, :stripe_created,
           CASE WHEN CAST(:owner_user_id AS text) <> user_id THEN CAST(:owner_user_id AS text) END, :owner_project_id
    FROM billing_customers WHERE stripe_customer_id = :stripe_customer_id AND deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM subscription_tombstones WHERE stripe_subscription_id = :stripe_subscription_id)
    ON CONFLICT (stripe_subscription_id) DO NOTHING
    RETURNING version
""")


def read(tx: Connection, stripe_subscription_ids: Sequence[str]) -> dict[str, Subscription]:
    """The rows that are there, by Stripe's id, as they are just now."""
    found = tx.execute(_READ, {"ids": arrays.texts(stripe_subscription_ids)})
    return {row.stripe_subscription_id: of_row(row) for row in found.all()}


def locked(
    tx: Connection, stripe_subscription_ids: Sequence[str], stripe_customer_ids: Sequence[str] = ()
) -> dict[str, Subscription]:
    """The rows that are there, by Stripe's id, locked until the transaction ends; and all those of the customers, whose
    own rows are locked already (`customers.locked`). Others of the same customers are locked, too."""
    ids = {"ids": arrays.texts(stripe_subscription_ids)}
    if stripe_customer_ids:
        found = tx.execute(_LOCKED_WITH_CUSTOMERS, {**ids, "customers": arrays.texts(stripe_customer_ids)})
    else:
        found = tx.execute(_LOCKED_BY_ID, ids)
    wanted, theirs = set(stripe_subscription_ids), set(stripe_customer_ids)
    rows = map(of_row, found.all())
    return {row.id: row for row in rows if row.id in wanted or row.customer_id in theirs}


def current(tx: Connection, user_ids: Sequence[str]) -> list[Subscription]:
    """The subscriptions that the ledger has for these users, by user; a deleted customer's is nobody's."""
    return [of_row(row) for row in tx.execute(_CURRENT, {"user_ids": arrays.texts(user_ids)})]


def living(tx: Connection, user_id: str) -> list[Subscription]:
    """All of a user's that haven't ended, the oldest first, whoever's customer they are on."""
    return [of_row(row) for row in tx.execute(_LIVING, {"user_id": user_id})]


def users_on(tx: Connection, stripe_customer_ids: Collection[str]) -> dict[str, str | None]:
    """Whose each subscription is that has a row on these customers; None: a project's."""
    found = tx.execute(_USERS_ON, {"customers": arrays.texts(sorted(stripe_customer_ids))})
    return {row.stripe_subscription_id: row.user_id for row in found}


def write(tx: Connection, rows: Sequence[Subscription], changes: Sequence[Change]) -> None:
    """Writes locked rows back, and their `changes` into the outbox."""
    tx.execute(_WRITE, of_rows(rows, changes))


def insert(
    tx: Connection,
    stripe_subscription_id: str,
    stripe_customer_id: str,
    owner: Owner,
    state: State,
    *,
    seen: tuple[datetime, datetime],
    stripe_created: datetime,
) -> bool:
    """A row for a customer of ours that isn't deleted, whose row is locked; False: there is none, or the row was
    there, or was removed."""
    parameters = {
        **state,
        "stripe_subscription_id": stripe_subscription_id,
        "stripe_customer_id": stripe_customer_id,
        "seen_from": seen[0],
        "seen_to": seen[1],
        "stripe_created": stripe_created,
        "owner_user_id": owner.id if owner.kind is OwnerKind.USER else None,
        "owner_project_id": owner.id if owner.kind is OwnerKind.PROJECT else None,
    }
    return tx.execute(_INSERT, parameters).one_or_none() is not None


def of_row(row: Row[Any]) -> Subscription:
    """Of one that `ALL` selects; there may be more columns behind."""
    # By place: a name is looked up in twice the time, and an event's batch has hundreds of rows.
    user_id, identifier, *values = tuple(row)
    attempts, failed_at, invoice, created, paid, last_notified, notices, customer_default, *rest = values[len(STATE) :]
    seen_from, seen_to, version, customer_id, project_id = rest[:5]
    charge = None if invoice is None else Charge(invoice, created, _CHARGED[paid], attempts, failed_at)
    return Subscription(
        identifier, user_id, dict(zip(STATE, values, strict=False)), seen_from, seen_to, version, charge,
        tuple(notices), last_notified, customer_id, customer_default, project_id,
    )  # fmt: skip


_CHARGED = {False: Charged.FAILING, None: Charged.GIVEN_UP, True: Charged.PAID}


def of_rows(rows: Sequence[Subscription], changes: Sequence[Change]) -> dict[str, str]:
    """The parameters of `WRITTEN`."""
    states = [row.state for row in rows]
    charges = [charge_columns(row.charge) for row in rows]

    def times(name: str, source: Sequence[Mapping[str, Value]]) -> str:
        return arrays.times([each[name] for each in source])  # type: ignore[misc]  # a column of times

    return {
        "ids": arrays.texts(row.id for row in rows),
        "plans": arrays.texts([str(state["plan"]) for state in states]),
        "statuses": arrays.texts([str(state["stripe_subscription_status"]) for state in states]),
        "canceling": arrays.booleans([bool(state["canceling"]) for state in states]),
        "trial_starts": times("trial_start", states),
        "trial_ends": times("trial_end", states),
        "period_starts": times("period_start", states),
        "period_ends": times("period_end", states),
        "canceled_at": times("canceled_at", states),
        "ended_at": times("ended_at", states),
        "attempts": arrays.numbers(row.charge.attempts if row.charge else 0 for row in rows),
        "failed_at": times("last_failed_charge", charges),
        "invoices": arrays.texts(row.charge.invoice_id if row.charge else None for row in rows),
        "invoices_created": times("charge_invoice_created", charges),
        "paid": arrays.booleans([each["charge_invoice_paid"] for each in charges]),  # type: ignore[misc]  # or None
        "own_defaults": arrays.texts(state["default_payment_method"] for state in states),  # type: ignore[misc]  # as above
        "customer_defaults": arrays.texts(row.customer_default for row in rows),
        "last_notified": arrays.times(row.last_notified for row in rows),
        "notices": arrays.texts(" ".join(row.notices) for row in rows),
        "seen_from": arrays.times(row.seen_from for row in rows),
        "seen_to": arrays.times(row.seen_to for row in rows),
        "versions": arrays.numbers(row.version for row in rows),
        "told_users": arrays.texts(change.user_id for change in changes),
        "told_ids": arrays.texts(change.subscription_id for change in changes),
        "told_versions": arrays.numbers(change.version for change in changes),
        "before": arrays.texts(None if change.before is None else as_json(change.before) for change in changes),
        "after": arrays.texts(as_json(change.after) for change in changes),
        "causes": arrays.texts(change.cause for change in changes),
        "told_projects": arrays.texts(change.project_id for change in changes),
    }

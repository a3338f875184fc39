"""SQL of the two steps of settling: the ledger row and what it stands for, in one statement each.

They are on the way of every signup, and a round trip to Postgres costs about 0.3 ms there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from worker.domain.default_card import DefaultCard
from worker.domain.provisioning import Provisioning, Requested, State
from worker.domain.stripe_facts import Answer, SubscriptionFact
from worker.domain.subscription import as_json, charge_columns
from worker.store import customers, refreshes
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning.leases import FENCE

_RECORD_CUSTOMER = text(f"""
    WITH fenced AS (
        UPDATE provisionings
        SET state = 'customer_created', stripe_customer_id = :customer_id, subscription_request = :request,
            trial_end = :trial_end, look_first = :look_first, last_error = NULL, refusal = NULL,
            lease_until = now() + :lease, due_at = now() + :lease,
            subscription_requested_at = coalesce(subscription_requested_at, :stripe_now),
            subscription_last_requested_at = :stripe_now
        {FENCE}
        RETURNING user_id
    ), inserted AS (
        INSERT INTO billing_customers (user_id, stripe_customer_id, default_seen_from, default_seen_to)
        SELECT user_id, :customer_id, :seen_from, :seen_to FROM fenced
        ON CONFLICT DO NOTHING
        RETURNING id
    ), revisited AS (
        INSERT INTO subscription_refreshes AS r (stripe_subscription_id)
        SELECT stripe_subscription_id FROM unmatched_subscriptions, inserted WHERE stripe_customer_id = :customer_id
        ON CONFLICT (stripe_subscription_id) DO UPDATE SET wanted = r.wanted + 1
    )
    SELECT (SELECT count(*) FROM fenced) AS fenced, (SELECT count(*) FROM inserted) AS inserted
""")  # noqa: S608 - the fence is a constant

# The customer's row is locked before the ledger's, which the fence asks for: as a condition without a column it is
# looked at before any row is.
_COMPLETE = text(f"""
    WITH owner AS (
        SELECT id, default_payment_method, default_seen_from FROM billing_customers
        WHERE stripe_customer_id = :stripe_customer_id
        FOR SHARE
    ), fenced AS (
        UPDATE provisionings
        SET state = 'completed', stripe_subscription_id = :stripe_subscription_id, completed_at = clock_timestamp(),
            customer_request = NULL, look_first = false, last_error = NULL, lease_until = NULL, refusal = NULL
        {FENCE} AND (SELECT count(*) FROM owner) >= 0
        RETURNING user_id
    ), inserted AS (
        INSERT INTO billing_subscriptions
            (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status, canceling,
             trial_start, trial_end, period_start, period_end, canceled_at, ended_at, default_payment_method,
             customer_default_payment_method, seen_from, seen_to, stripe_created)
        SELECT id, :stripe_subscription_id, :plan, :stripe_subscription_status, :canceling,
               :trial_start, :trial_end, :period_start, :period_end, :canceled_at, :ended_at, :default_payment_method,
               owner.default_payment_method, :seen_from, :seen_to, :stripe_created
        FROM owner
        WHERE EXISTS (SELECT FROM fenced)
            AND NOT EXISTS (SELECT FROM subscription_tombstones WHERE stripe_subscription_id = :stripe_subscription_id)
        ON CONFLICT (stripe_subscription_id) DO NOTHING
        RETURNING version, coalesce(default_payment_method, customer_default_payment_method) IS NOT NULL AS payable
    ), noted AS (
        INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, after, cause)
        SELECT fenced.user_id, :stripe_subscription_id, version,
            CAST(:after AS jsonb) || jsonb_build_object('payable', payable), :cause
        FROM inserted, fenced
    )
    SELECT (SELECT count(*) FROM fenced) AS fenced, (SELECT count(*) FROM inserted) AS inserted,
           (SELECT default_seen_from IS NULL FROM owner) AS in_doubt
""")  # noqa: S608 - the fence is a constant


def record_customer(
    tx: Connection,
    frozen: Provisioning,
    *,
    look_first: bool,
    lease: timedelta,
    stripe_now: datetime,
    made: tuple[datetime, datetime] | None = None,
) -> Provisioning:
    """The row has the customer of `frozen`, and its subscription's request is about to be sent. Renews the lease.
    `made`: when at Stripe it was made just now, without a card; None: what it has isn't known.

    Raises `LeaseLost`, `CustomerAlreadyExists`, `StripeCustomerAlreadyExists`.
    """
    customer_id = frozen.stripe_customer_id
    assert customer_id is not None, "frozen with its customer"
    parameters = frozen.fence | {
        "customer_id": customer_id,
        "request": frozen.subscription_request,
        "trial_end": frozen.trial_end,
        "look_first": look_first,
        "lease": lease,
        "stripe_now": stripe_now,
        "seen_from": made[0] if made else None,
        "seen_to": made[1] if made else None,
    }
    done = tx.execute(_RECORD_CUSTOMER, parameters).one()
    if not done.fenced:
        raise LeaseLost(frozen.user_id)
    if not done.inserted:
        customers.require(tx, frozen.user_id, customer_id)
    first = frozen.subscription_requested.first if frozen.subscription_requested else stripe_now
    return replace(
        frozen,
        state=State.CUSTOMER_CREATED,
        look_first=look_first,
        subscription_requested=Requested(first, stripe_now),
        requested_before=frozen.subscription_requested,
    )


def complete(tx: Connection, row: Provisioning, answer: Answer[SubscriptionFact], *, plan: str, cause: str) -> None:
    """The row has its subscription, on what we call `plan`; its sealed profile is erased with the very statement.
    Raises `LeaseLost`.

    What Stripe answered to our create or look is written under the rules of any answer. One from memory is as old as
    the object, so a refresh is marked beside it. Where the subscription is there already (an event was first), its
    `version` has moved since we asked: of it nothing is written but the mark. One is marked, too, whose customer's
    default payment method is in doubt.
    """
    fact = answer.value
    state = fact.columns(plan)
    parameters = (
        row.fence
        | state
        | {
            "stripe_customer_id": fact.customer_id,
            "stripe_subscription_id": fact.id,
            "seen_from": fact.created if answer.replayed else answer.seen_from,
            "seen_to": fact.created if answer.replayed else answer.seen_to,
            "stripe_created": fact.created,
            "after": as_json({**state, **charge_columns(None), "last_notified": None}),
            "cause": cause,
        }
    )
    if fact.customer is not None:  # as a look tells it
        default = DefaultCard(fact.customer.default_payment_method, answer.seen_from, answer.seen_to)
        customers.learn_default(tx, fact.customer_id, default)
    done = tx.execute(_COMPLETE, parameters).one()
    if not done.fenced:
        raise LeaseLost(row.user_id)
    if not done.inserted or answer.replayed or done.in_doubt:
        refreshes.mark(tx, [fact.id])

"""SQL of `billing_subscriptions`, of the marks for a refresh, and of the outbox of changes."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, func, text
from sqlalchemy.dialects.postgresql import insert

from schema.tables import subscription_refreshes as refreshes
from worker.domain.stripe_facts import Answer, SubscriptionFact

_INSERT = text("""
    WITH inserted AS (
        INSERT INTO billing_subscriptions
            (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status, canceling,
             trial_start, trial_end, period_start, period_end, canceled_at, ended_at, seen_from, seen_to)
        SELECT id, :stripe_subscription_id, :plan, :stripe_subscription_status, :canceling,
               :trial_start, :trial_end, :period_start, :period_end, :canceled_at, :ended_at, :seen_from, :seen_to
        FROM billing_customers WHERE stripe_customer_id = :stripe_customer_id
        ON CONFLICT (stripe_subscription_id) DO NOTHING
        RETURNING version
    )
    INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, after, cause)
    SELECT :user_id, :stripe_subscription_id, version, CAST(:after AS jsonb), :cause FROM inserted
""")
"""One statement for the row and its change: it is on the way of every signup."""


def record_created(tx: Connection, user_id: str, answer: Answer[SubscriptionFact], *, cause: str) -> None:
    """Writes what Stripe answered to our own create or look, under the rules of any answer; its customer is there.

    An answer from memory is as old as the object, so a refresh is marked beside it. Where the row is there already (an
    event was first), its `version` has moved since we asked: nothing is written but the mark.
    """
    fact = answer.value
    state = _state(fact)
    parameters = state | {
        "user_id": user_id,
        "stripe_customer_id": fact.customer_id,
        "stripe_subscription_id": fact.id,
        "seen_from": fact.created if answer.replayed else answer.seen_from,
        "seen_to": fact.created if answer.replayed else answer.seen_to,
        "after": json.dumps({name: _json(value) for name, value in state.items()}),
        "cause": cause,
    }
    inserted = tx.execute(_INSERT, parameters).rowcount
    if not inserted or answer.replayed:
        mark_refresh(tx, fact.id)


def mark_refresh(tx: Connection, stripe_subscription_id: str) -> None:
    """Asks for the subscription to be fetched: `wanted + 1`, by Stripe's id, since our row may not exist yet."""
    tx.execute(
        insert(refreshes)
        .values(stripe_subscription_id=stripe_subscription_id)
        .on_conflict_do_update(
            index_elements=["stripe_subscription_id"],
            set_={"wanted": refreshes.c.wanted + 1, "due_at": func.least(refreshes.c.due_at, func.now())},
        )
    )


def _state(fact: SubscriptionFact) -> dict[str, str | bool | datetime | None]:
    return {
        "plan": fact.plan,
        "stripe_subscription_status": fact.status,
        "canceling": fact.canceling,
        "trial_start": fact.trial_start,
        "trial_end": fact.trial_end,
        "period_start": fact.period_start,
        "period_end": fact.period_end,
        "canceled_at": fact.canceled_at,
        "ended_at": fact.ended_at,
    }


def _json(value: str | bool | datetime | None) -> str | bool | None:
    return value.isoformat() if isinstance(value, datetime) else value

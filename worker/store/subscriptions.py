"""SQL of `billing_subscriptions` and of the marks for a refresh."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func
from sqlalchemy.dialects.postgresql import insert

from schema.tables import subscription_refreshes as refreshes
from worker.domain.stripe_facts import SubscriptionFact


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


def columns(fact: SubscriptionFact, plan: str) -> dict[str, str | bool | datetime | None]:
    """What our row keeps of Stripe's subscription. `plan`: what the price is called in our tables."""
    return {
        "plan": plan,
        "stripe_subscription_status": fact.status,
        "canceling": fact.canceling,
        "trial_start": fact.trial_start,
        "trial_end": fact.trial_end,
        "period_start": fact.period_start,
        "period_end": fact.period_end,
        "canceled_at": fact.canceled_at,
        "ended_at": fact.ended_at,
    }

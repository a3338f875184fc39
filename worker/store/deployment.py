"""SQL of `deployment`: the one Stripe account, mode and namespace that a database belongs to."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from schema.tables import deployment
from worker.domain.stripe_facts import AccountFact
from worker.errors import Misconfigured


def claim(tx: Connection, account: AccountFact, namespace: str) -> None:
    """The first process writes the row; every other one must match it, or raises `Misconfigured`.

    A worker with another account's key would give every user a second customer, so it must not start.
    """
    ours = {"stripe_account_id": account.id, "livemode": account.livemode, "namespace": namespace}
    tx.execute(insert(deployment).values(**ours).on_conflict_do_nothing())
    theirs = tx.execute(select(deployment)).mappings().one()
    settings = {"stripe_account_id": "STRIPE_SECRET_KEY", "livemode": "stripe.livemode", "namespace": "namespace"}
    for column, key in settings.items():
        if theirs[column] != ours[column]:
            problem = f"this database belongs to {column} {theirs[column]!r}, not {ours[column]!r}"
            raise Misconfigured(key, problem, "Use that deployment's key and namespace, or another database.")


def namespace(tx: Connection) -> str | None:
    """The namespace that this database's keys are made with; None before the first process claimed it."""
    return tx.execute(select(deployment.c.namespace)).scalar()

"""SQL of `deployment`: the one Stripe account, mode and namespace that a database belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from schema.tables import deployment
from worker.domain.stripe_facts import AccountFact
from worker.errors import Misconfigured

_SETTINGS = {"stripe_account_id": "STRIPE_SECRET_KEY", "livemode": "stripe.livemode", "namespace": "namespace"}
"""Which setting each column answers to."""


def owner(tx: Connection) -> Mapping[str, object] | None:
    """The row, by column; None before the first process claimed this database."""
    row = tx.execute(select(deployment)).mappings().one_or_none()
    return None if row is None else dict(row)


def claim(tx: Connection, account: AccountFact, namespace: str) -> None:
    """The first process writes the row; every other one must match it, or raises `Misconfigured`.

    A worker with another account's key would give every user a second customer, so it must not start.
    """
    ours = {"stripe_account_id": account.id, "livemode": account.livemode, "namespace": namespace}
    tx.execute(insert(deployment).values(**ours).on_conflict_do_nothing())
    compare(dict(tx.execute(select(deployment)).mappings().one()), ours)


def is_recorded(tx: Connection, *, livemode: bool, namespace: str) -> bool:
    """Whether the row is there. Raises `Misconfigured` where it is another mode's or namespace's: which account it
    names can only be compared with a key that Stripe accepts."""
    row = owner(tx)
    if row is not None:
        compare(row, {"livemode": livemode, "namespace": namespace})
    return row is not None


def compare(row: Mapping[str, object], ours: Mapping[str, object]) -> None:
    """Raises `Misconfigured`, which names the setting, where a column of the row is not what it is here."""
    for column, value in ours.items():
        if row[column] != value:
            problem = f"this database belongs to {column} {row[column]!r}, not {value!r}"
            raise Misconfigured(
                _SETTINGS[column], problem, "Use that deployment's key and namespace, or another database."
            )


def database_id(tx: Connection) -> str:
    """Which database this is, among all; once it was claimed."""
    return str(tx.execute(select(deployment.c.database_id)).scalar_one())


def namespace(tx: Connection) -> str | None:
    """The namespace that this database's keys are made with; None before the first process claimed it."""
    return tx.execute(select(deployment.c.namespace)).scalar()

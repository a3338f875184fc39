"""The database's clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

_NOW = text("SELECT now()")
_CLOCK = text("SELECT clock_timestamp()")


def transaction_time(tx: Connection) -> datetime:
    """When this transaction began (UTC), by which rows are dated."""
    found: datetime = tx.execute(_NOW).scalar_one()
    return found


def clock_time(tx: Connection) -> datetime:
    """What the clock shows right now (UTC), not when the transaction began."""
    found: datetime = tx.execute(_CLOCK).scalar_one()
    return found

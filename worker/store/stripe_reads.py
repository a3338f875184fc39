"""SQL of `stripe_reads`: how many reads of Stripe's monthly allotment were made, by what for (UTC months).

Those of polls and commands are counted before they are sent: one that was counted and never left is cheaper than one
that nobody knows of. Those of the work that can't wait for that (prices, refreshes, looks) are counted in memory, and
added every few seconds.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

POLLS, COMMANDS = "polls", "commands"

_MONTH = "date_trunc('month', now() AT TIME ZONE 'UTC')::date"

_COUNT = text(f"""
    INSERT INTO stripe_reads AS r (month, purpose, reads) VALUES ({_MONTH}, :purpose, 1)
    ON CONFLICT (month, purpose) DO UPDATE SET reads = r.reads + 1 WHERE r.reads < :most
""")  # noqa: S608 - the month is the constant above

_ADD = text(f"""
    INSERT INTO stripe_reads AS r (month, purpose, reads) VALUES ({_MONTH}, :purpose, :reads)
    ON CONFLICT (month, purpose) DO UPDATE SET reads = r.reads + :reads
""")  # noqa: S608 - as above

_GIVE_BACK = text(f"""
    UPDATE stripe_reads SET reads = greatest(0, reads - :reads) WHERE month = {_MONTH} AND purpose = :purpose
""")  # noqa: S608 - as above

_THIS_MONTH = text(f"""
    SELECT coalesce(sum(reads) FILTER (WHERE purpose = :purpose), 0)::bigint,
           coalesce(sum(reads) FILTER (WHERE purpose <> :purpose), 0)::bigint
    FROM stripe_reads WHERE month = {_MONTH}
""")  # noqa: S608 - the month is the constant above


def count(tx: Connection, purpose: str, most: int) -> bool:
    """One more in this month, unless there were `most`; whether it was counted."""
    return most > 0 and tx.execute(_COUNT, {"purpose": purpose, "most": most}).rowcount == 1


def add(tx: Connection, purpose: str, reads: int) -> None:
    """So many more in this month."""
    tx.execute(_ADD, {"purpose": purpose, "reads": reads})


def give_back(tx: Connection, purpose: str, reads: int) -> None:
    """So many that were counted were not sent."""
    tx.execute(_GIVE_BACK, {"purpose": purpose, "reads": reads})


def this_month(tx: Connection, purpose: str) -> tuple[int, int]:
    """The reads of this month for this `purpose`, and for all others."""
    own, others = tx.execute(_THIS_MONTH, {"purpose": purpose}).one()
    return own, others

"""SQL that shows the whole quarantine: messages that could not be read, profiles that could not be settled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, text


class Kind(StrEnum):
    """What waits for a person: a message that was refused, or a ledger row."""

    MESSAGE = "message"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """`id`: the message's number or the user's id. `expires_at` (UTC): when a message is deleted; None of a profile."""

    kind: Kind
    id: str
    reason: str
    detail: str
    quarantined_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Total:
    """How many there are of one kind for one reason."""

    kind: Kind
    reason: str
    count: int


# A profile's last_error is `reason: detail`, or the id of a Stripe customer that another user has.
_REASON = r"CASE WHEN p.last_error ~ '^[a-z0-9_]+: ' THEN split_part(p.last_error, ': ', 1) "
_REASON += "ELSE 'customer_of_another_user' END"

_ALL = f"""
    SELECT 'message' AS kind, id::text AS id, reason, detail, quarantined_at, expires_at, id AS number
    FROM quarantined_messages
    UNION ALL
    SELECT 'profile', p.user_id, {_REASON}, regexp_replace(coalesce(p.last_error, ''), '^[a-z0-9_]+: ', ''),
           p.quarantined_at, NULL, NULL
    FROM provisionings p WHERE p.state = 'quarantined'
"""  # noqa: S608 - the reason is the constant above

_FILTER = """
    WHERE (CAST(:kind AS text) IS NULL OR kind = :kind) AND (CAST(:reason AS text) IS NULL OR reason = :reason)
"""

_PAGE = text(f"""
    SELECT kind, id, reason, detail, quarantined_at, expires_at FROM ({_ALL}) AS quarantined {_FILTER}
    ORDER BY quarantined_at DESC, number DESC, id LIMIT :limit OFFSET :offset
""")  # noqa: S608 - only the constants above

_TOTALS = text(f"""
    SELECT kind, reason, count(*) AS count FROM ({_ALL}) AS quarantined {_FILTER}
    GROUP BY kind, reason ORDER BY count(*) DESC, kind, reason
""")  # noqa: S608 - only the constants above

_USERS = text(f"""
    SELECT p.user_id FROM provisionings p
    WHERE p.state = 'quarantined' AND p.user_id > :after
      AND (CAST(:reason AS text) IS NULL OR {_REASON} = :reason)
    ORDER BY p.user_id LIMIT :limit
""")  # noqa: S608 - the reason is the constant above


def page(tx: Connection, kind: Kind | None, reason: str | None, *, limit: int, offset: int) -> list[Quarantined]:
    """What lies in quarantine, the newest first."""
    rows = tx.execute(_PAGE, {"kind": kind, "reason": reason, "limit": limit, "offset": offset})
    return [Quarantined(Kind(row.kind), *row[1:]) for row in rows]


def totals(tx: Connection, kind: Kind | None, reason: str | None) -> list[Total]:
    """How much of it there is, the most frequent reason first."""
    rows = tx.execute(_TOTALS, {"kind": kind, "reason": reason})
    return [Total(Kind(row.kind), row.reason, row[2]) for row in rows]


def users_after(tx: Connection, after: str, reason: str | None, limit: int) -> list[str]:
    """Up to `limit` users in quarantine whose ids come after `after`, in order."""
    return list(tx.execute(_USERS, {"after": after, "reason": reason, "limit": limit}).scalars())

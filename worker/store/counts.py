"""How many subscriptions there are, as the database counts them while they are written (`schema.counts`)."""

from __future__ import annotations

from sqlalchemy import Connection, text

from worker.domain.stats import Count

MOST_ROWS, MOST_FOLDED = 2000, 50_000
"""With more rows than that they are folded, so many at once: a few hundred are left."""

_NAMES = "plan, stripe_subscription_status, canceling, trial_end_day"

_READ = text(f"""
    SELECT {_NAMES}, sum(subscriptions)::bigint FROM subscription_counts
    GROUP BY {_NAMES} HAVING sum(subscriptions) <> 0
""")  # noqa: S608 - a constant

# Whoever folds at the same time leaves out what is being folded.
_FOLD = text(f"""
    WITH gone AS (
        DELETE FROM subscription_counts
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM subscription_counts LIMIT :most FOR UPDATE SKIP LOCKED))
            AND :least < (SELECT count(*) FROM subscription_counts)
        RETURNING {_NAMES}, subscriptions
    )
    INSERT INTO subscription_counts ({_NAMES}, subscriptions)
    SELECT {_NAMES}, sum(subscriptions) FROM gone GROUP BY {_NAMES} HAVING sum(subscriptions) <> 0
""")  # noqa: S608 - constants

# One statement sees one moment: what it finds stays true of that, whatever is written meanwhile.
_MISCOUNTED = f"""
    SELECT {_NAMES}, sum(counted)::bigint AS counted, sum(there)::bigint AS there
    FROM (
        SELECT {_NAMES}, subscriptions AS counted, 0 AS there FROM subscription_counts
        UNION ALL
        SELECT plan, stripe_subscription_status, canceling,
            CASE WHEN stripe_subscription_status = 'trialing' THEN (trial_end AT TIME ZONE 'UTC')::date END, 0, 1
        FROM billing_subscriptions
    ) AS both_sides
    GROUP BY {_NAMES} HAVING sum(counted) <> sum(there)
"""  # noqa: S608 - constants

_COMPARE = text(_MISCOUNTED + f"ORDER BY {_NAMES}")
_CORRECT = text(f"""
    WITH wrong AS ({_MISCOUNTED}), corrected AS (
        INSERT INTO subscription_counts ({_NAMES}, subscriptions) SELECT {_NAMES}, there - counted FROM wrong
    )
    SELECT * FROM wrong ORDER BY {_NAMES}
""")  # noqa: S608 - constants

_NO_TIMEOUT = text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")

# Two who correct at once would both add the difference that both find.
_LOCK = text("SELECT pg_advisory_xact_lock(1533739012)")


def read(tx: Connection) -> list[Count]:
    """What there is now, of whatever was committed."""
    return [Count(*row) for row in tx.execute(_READ)]


def fold(tx: Connection) -> None:
    """Keeps the table small."""
    tx.execute(_FOLD, {"most": MOST_FOLDED, "least": MOST_ROWS})


def miscounted(tx: Connection, *, correct: bool) -> list[tuple[Count, int]]:
    """What was counted otherwise than the rows are, and how many there are of it; corrected, if asked to. Reads every
    row, for as long as it takes: 10,000,000 are a matter of seconds."""
    tx.execute(_NO_TIMEOUT)
    if correct:
        tx.execute(_LOCK)
    return [(Count(*row[:5]), row.there) for row in tx.execute(_CORRECT if correct else _COMPARE)]

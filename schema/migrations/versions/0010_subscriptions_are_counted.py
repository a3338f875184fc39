"""Subscriptions are counted by what is asked for, statement by statement.

The rows that are there are counted under the lock that creating a trigger takes: writers wait so long.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

additive = True
"""Whoever knows nothing of it is counted too."""

_COUNTED = """
    SELECT plan, stripe_subscription_status, canceling,
        CASE WHEN stripe_subscription_status = 'trialing' THEN (trial_end AT TIME ZONE 'UTC')::date END
            AS trial_end_day"""

_FUNCTION = f"""
CREATE FUNCTION count_subscriptions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM subscription_counts;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)
        SELECT counted.*, count(*) FROM ({_COUNTED} FROM came) counted GROUP BY 1, 2, 3, 4;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)
        SELECT counted.*, -count(*) FROM ({_COUNTED} FROM gone) counted GROUP BY 1, 2, 3, 4;
    ELSE
        INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)
        SELECT plan, stripe_subscription_status, canceling, trial_end_day, sum(n)
        FROM (
            SELECT counted.*, 1 AS n FROM ({_COUNTED} FROM came) counted
            UNION ALL SELECT counted.*, -1 FROM ({_COUNTED} FROM gone) counted
        ) changed
        GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END
$$
"""  # noqa: S608 - constants

_AFTER = "AFTER {} ON billing_subscriptions {} FOR EACH STATEMENT EXECUTE FUNCTION count_subscriptions()"

_TRIGGERS = (
    "CREATE TRIGGER count_inserted " + _AFTER.format("INSERT", "REFERENCING NEW TABLE AS came"),
    "CREATE TRIGGER count_updated " + _AFTER.format("UPDATE", "REFERENCING OLD TABLE AS gone NEW TABLE AS came"),
    "CREATE TRIGGER count_deleted " + _AFTER.format("DELETE", "REFERENCING OLD TABLE AS gone"),
    "CREATE TRIGGER count_truncated " + _AFTER.format("TRUNCATE", ""),
)


def upgrade() -> None:
    op.create_table(
        "subscription_counts",
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("stripe_subscription_status", sa.Text(), nullable=False),
        sa.Column("canceling", sa.Boolean(), nullable=False),
        sa.Column("trial_end_day", sa.Date()),
        sa.Column("subscriptions", sa.BigInteger(), nullable=False),
        comment="What each statement did to the numbers of subscriptions, folded now and then: their sum counts",
    )
    for statement in (_FUNCTION, *_TRIGGERS):
        op.execute(statement)
    op.execute(
        "INSERT INTO subscription_counts (plan, stripe_subscription_status, canceling, trial_end_day, subscriptions)"  # noqa: S608 - a constant
        f" SELECT counted.*, count(*) FROM ({_COUNTED} FROM billing_subscriptions) counted GROUP BY 1, 2, 3, 4"
    )


def downgrade() -> None:
    for trigger in ("count_inserted", "count_updated", "count_deleted", "count_truncated"):
        op.execute(f"DROP TRIGGER {trigger} ON billing_subscriptions")
    op.execute("DROP FUNCTION count_subscriptions()")
    op.drop_table("subscription_counts")

"""Stripe's events: their table by day, refreshes that are tried again, and subscriptions that are nobody's yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

additive = True
"""Nobody wrote events before; whoever doesn't know the new columns leaves them at their defaults."""

_MAINTAIN = """
CREATE FUNCTION maintain_event_partitions(OUT first date, OUT last date)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day date;
    name text;
BEGIN
    first := today - 32;
    last := today + 7;
    PERFORM pg_advisory_xact_lock(1533739010);
    FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
        name := 'processed_stripe_events_' || to_char(day, 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE processed_stripe_events INCLUDING ALL)', name);
            EXECUTE format(
                'ALTER TABLE processed_stripe_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                name, day || ' 00:00:00+00', day + 1 || ' 00:00:00+00'
            );
        END IF;
    END LOOP;
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'processed_stripe_events'::regclass
            AND c.relname < 'processed_stripe_events_' || to_char(first, 'YYYYMMDD')
    LOOP
        BEGIN
            LOCK TABLE processed_stripe_events IN ACCESS EXCLUSIVE MODE NOWAIT;
            EXECUTE format('DROP TABLE %I', name);
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    op.drop_table("processed_stripe_events")
    op.create_table(
        "processed_stripe_events",
        sa.Column("stripe_event_id", sa.Text(), primary_key=True),
        sa.Column("created", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        postgresql_partition_by="RANGE (created)",
        comment="The events that were heard, and what became of each: nothing is taken in twice",
    )
    op.execute(sa.text(_MAINTAIN))
    op.create_table(
        "unmatched_subscriptions",
        sa.Column("stripe_subscription_id", sa.Text(), primary_key=True),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        comment="Subscriptions of customers that are nobody's we know: fetched once their customer appears",
    )
    op.create_index("unmatched_subscriptions_stripe_customer_id_idx", "unmatched_subscriptions", ["stripe_customer_id"])
    op.add_column("billing_subscriptions", _array("notices"))
    op.add_column("billing_subscriptions", sa.Column("stripe_created", sa.DateTime(timezone=True)))
    op.add_column(
        "subscription_refreshes",
        sa.Column("marked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column(
        "subscription_refreshes", sa.Column("confirmed", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "subscription_refreshes", sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("subscription_refreshes", sa.Column("last_error", sa.Text()))


def _array(name: str) -> sa.Column[list[str]]:
    return sa.Column(name, postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)


def downgrade() -> None:
    op.drop_column("subscription_refreshes", "last_error")
    op.drop_column("subscription_refreshes", "attempts")
    op.drop_column("subscription_refreshes", "confirmed")
    op.drop_column("subscription_refreshes", "marked_at")
    op.drop_column("billing_subscriptions", "stripe_created")
    op.drop_column("billing_subscriptions", "notices")
    op.drop_table("unmatched_subscriptions")
    op.execute("DROP FUNCTION maintain_event_partitions()")
    op.drop_table("processed_stripe_events")
    op.create_table(
        "processed_stripe_events",
        sa.Column("stripe_event_id", sa.Text(), primary_key=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text()),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.create_index("processed_stripe_events_processed_at_idx", "processed_stripe_events", ["processed_at"])

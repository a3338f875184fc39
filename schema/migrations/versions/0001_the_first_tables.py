"""The first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

additive = False
"""True only if processes that know nothing of this revision keep working beside it (a rolling deploy)."""


def upgrade() -> None:
    op.create_table(
        "billing_customers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("billing_customers_pkey")),
        sa.UniqueConstraint("stripe_customer_id", name=op.f("billing_customers_stripe_customer_id_key")),
    )
    op.create_index(
        "billing_customers_user_id_key",
        "billing_customers",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "deployment",
        sa.Column("singleton", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("stripe_account_id", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("singleton", name=op.f("deployment_single_row_check")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("deployment_pkey")),
        comment="The one Stripe account, mode and namespace that this database belongs to",
    )
    op.create_table(
        "processed_stripe_events",
        sa.Column("stripe_event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("stripe_event_id", name=op.f("processed_stripe_events_pkey")),
    )
    op.create_index(
        op.f("processed_stripe_events_processed_at_idx"), "processed_stripe_events", ["processed_at"], unique=False
    )
    op.create_table(
        "provisionings",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("trial_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("look_first", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("customer_request", sa.LargeBinary(), nullable=True),
        sa.Column("subscription_request", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("customer_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("customer_last_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("subscription_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("subscription_last_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("quarantined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state <> 'completed' OR (stripe_subscription_id IS NOT NULL AND customer_request IS NULL)",
            name=op.f("provisionings_completed_check"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'customer_created', 'completed', 'quarantined', 'erasing', 'erased')",
            name=op.f("provisionings_state_check"),
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("provisionings_pkey")),
        comment="The ledger: one row a user, for ever, so that a replay months later changes nothing",
    )
    op.create_index(
        "provisionings_due_idx",
        "provisionings",
        ["lane", "due_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'customer_created')"),
    )
    op.create_index(
        "provisionings_quarantined_idx",
        "provisionings",
        ["quarantined_at"],
        unique=False,
        postgresql_where=sa.text("state = 'quarantined'"),
    )
    op.create_index(
        "provisionings_stripe_subscription_id_key",
        "provisionings",
        ["stripe_subscription_id"],
        unique=True,
        postgresql_where=sa.text("stripe_subscription_id IS NOT NULL"),
    )
    op.create_table(
        "quarantined_messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("nsq_message_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("sealed_body", sa.LargeBinary(), nullable=False),
        sa.Column("body_digest", sa.LargeBinary(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quarantined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("quarantined_messages_pkey")),
        sa.UniqueConstraint("topic", "body_digest", name=op.f("quarantined_messages_topic_key")),
    )
    op.create_index(op.f("quarantined_messages_expires_at_idx"), "quarantined_messages", ["expires_at"], unique=False)
    op.create_table(
        "schema_revisions",
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("additive", sa.Boolean(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("schema_revisions_pkey")),
        comment="Which migrations are here, and whether a process that does not know one can work beside it",
    )
    op.create_table(
        "stripe_event_cursor",
        sa.Column("singleton", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("singleton", name=op.f("stripe_event_cursor_single_row_check")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("stripe_event_cursor_pkey")),
    )
    op.create_table(
        "subscription_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("subscription_changes_pkey")),
        comment="The outbox: every change of a subscription, written in the change's own transaction",
    )
    op.create_index(
        "subscription_changes_unsent_idx",
        "subscription_changes",
        ["id"],
        unique=False,
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "subscription_refreshes",
        sa.Column("stripe_subscription_id", sa.Text(), nullable=False),
        sa.Column("wanted", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("subscription_refreshes_pkey")),
    )
    op.create_index(op.f("subscription_refreshes_due_at_idx"), "subscription_refreshes", ["due_at"], unique=False)
    op.create_table(
        "billing_subscriptions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("billing_customer_id", sa.BigInteger(), nullable=False),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("stripe_subscription_status", sa.Text(), nullable=False),
        sa.Column("canceling", sa.Boolean(), nullable=False),
        sa.Column("trial_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trial_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=True),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("canceled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_charge_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_failed_charge", sa.DateTime(timezone=True), nullable=True),
        sa.Column("charge_invoice", sa.Text(), nullable=True),
        sa.Column("charge_invoice_created", sa.DateTime(timezone=True), nullable=True),
        sa.Column("charge_invoice_paid", sa.Boolean(), nullable=True),
        sa.Column("last_notified", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["billing_customer_id"],
            ["billing_customers.id"],
            name=op.f("billing_subscriptions_billing_customer_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("billing_subscriptions_pkey")),
        sa.UniqueConstraint("stripe_subscription_id", name=op.f("billing_subscriptions_stripe_subscription_id_key")),
    )
    op.create_index(
        op.f("billing_subscriptions_billing_customer_id_idx"),
        "billing_subscriptions",
        ["billing_customer_id"],
        unique=False,
    )
    op.create_table(
        "payment_methods",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("billing_customer_id", sa.BigInteger(), nullable=False),
        sa.Column("stripe_payment_method_id", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["billing_customer_id"],
            ["billing_customers.id"],
            name=op.f("payment_methods_billing_customer_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("payment_methods_pkey")),
        sa.UniqueConstraint(
            "billing_customer_id",
            "priority",
            deferrable=True,
            initially="DEFERRED",
            name=op.f("payment_methods_billing_customer_id_key"),
        ),
        sa.UniqueConstraint("stripe_payment_method_id", name=op.f("payment_methods_stripe_payment_method_id_key")),
    )
    op.create_index(
        op.f("payment_methods_billing_customer_id_idx"), "payment_methods", ["billing_customer_id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("payment_methods_billing_customer_id_idx"), table_name="payment_methods")
    op.drop_table("payment_methods")
    op.drop_index(op.f("billing_subscriptions_billing_customer_id_idx"), table_name="billing_subscriptions")
    op.drop_table("billing_subscriptions")
    op.drop_index(op.f("subscription_refreshes_due_at_idx"), table_name="subscription_refreshes")
    op.drop_table("subscription_refreshes")
    op.drop_index(
        "subscription_changes_unsent_idx",
        table_name="subscription_changes",
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.drop_table("subscription_changes")
    op.drop_table("stripe_event_cursor")
    op.drop_table("schema_revisions")
    op.drop_index(op.f("quarantined_messages_expires_at_idx"), table_name="quarantined_messages")
    op.drop_table("quarantined_messages")
    op.drop_index(
        "provisionings_quarantined_idx", table_name="provisionings", postgresql_where=sa.text("state = 'quarantined'")
    )
    op.drop_index(
        "provisionings_due_idx",
        table_name="provisionings",
        postgresql_where=sa.text("state IN ('pending', 'customer_created')"),
    )
    op.drop_table("provisionings")
    op.drop_index(op.f("processed_stripe_events_processed_at_idx"), table_name="processed_stripe_events")
    op.drop_table("processed_stripe_events")
    op.drop_table("deployment")
    op.drop_index(
        "billing_customers_user_id_key", table_name="billing_customers", postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.drop_table("billing_customers")

"""Changes of subscriptions that users and admins ask for, and tombstones of those that were removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it change nothing by request. They don't see tombstones, and would take in again what
was removed: nothing is removed before all processes know them."""

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "account_changes",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'pending'")),
        sa.Column("steps", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("wanted", postgresql.JSONB(), nullable=False),
        sa.Column("sealed_email", sa.LargeBinary()),
        sa.Column("etag", sa.Text()),
        sa.Column("stripe_subscription_id", sa.Text()),
        sa.Column("stripe_customer_id", sa.Text()),
        sa.Column("request", postgresql.JSONB()),
        sa.Column("generation", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("asked_at", _TIME),
        sa.Column("due_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("lease_token", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("lease_until", _TIME),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("last_error", sa.Text()),
        sa.Column("result", postgresql.JSONB()),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("ended_at", _TIME),
        sa.CheckConstraint("kind IN ('create', 'update', 'delete')", name="kind"),
        sa.CheckConstraint("state IN ('pending', 'applied', 'failed')", name="state"),
        sa.CheckConstraint(
            "(state = 'pending') = (ended_at IS NULL) AND (state = 'pending' OR sealed_email IS NULL)",
            name="ended",
        ),
        comment="What users and admins ask of subscriptions: a row first, and then the work",
    )
    op.create_index(
        "account_changes_due_idx", "account_changes", ["due_at"], postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index(
        "account_changes_pending_idx",
        "account_changes",
        ["user_id", "seq"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "account_changes_key",
        "account_changes",
        ["caller", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("account_changes_ended_idx", "account_changes", ["ended_at"])
    op.create_table(
        "subscription_tombstones",
        sa.Column("stripe_subscription_id", sa.Text(), primary_key=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", _TIME, nullable=False, server_default=sa.text("now()")),
        comment="Subscriptions that were removed here: nothing that Stripe says of them is taken in again",
    )


def downgrade() -> None:
    op.drop_table("subscription_tombstones")
    op.drop_table("account_changes")

"""Customers may have several owners, and a subscription's row names its own; what is on bills is changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

additive = True
"""No row here means what was so before: a customer is its user's, and so are its subscriptions. Processes that don't
know it read just that, so roles are given once none of them runs any more. Those that make changes, and don't know this
kind, must not run beside others that do: no release is like that."""

_KINDS = ("create", "update", "delete", "checkout", "completion", "portal", "detachment")


def upgrade() -> None:
    op.create_table(
        "billing_owners",
        sa.Column(
            "billing_customer_id",
            sa.BigInteger(),
            sa.ForeignKey("billing_customers.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("owner_kind", sa.Text(), primary_key=True),
        sa.Column("owner_id", sa.Text(), primary_key=True),
        sa.Column("role", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint("owner_kind IN ('user', 'project')", name="kind"),
        sa.CheckConstraint("role IN ('payer', 'member')", name="role"),
        comment="Who owns a customer, where that isn't its own user alone",
    )
    op.create_index("billing_owners_owner_idx", "billing_owners", ["owner_id", "owner_kind"])
    op.add_column("billing_subscriptions", sa.Column("owner_user_id", sa.Text()))
    op.add_column("billing_subscriptions", sa.Column("owner_project_id", sa.Text()))
    op.create_index(
        "billing_subscriptions_owner_user_id_idx",
        "billing_subscriptions",
        ["owner_user_id"],
        postgresql_where=sa.text("owner_user_id IS NOT NULL"),
    )
    op.add_column("subscription_changes", sa.Column("project_id", sa.Text()))
    op.alter_column("subscription_changes", "user_id", nullable=True)
    op.alter_column("subscription_tombstones", "user_id", nullable=True)
    _allow((*_KINDS, "details"))


def downgrade() -> None:
    op.execute("DELETE FROM account_changes WHERE kind = 'details'")
    _allow(_KINDS)
    op.execute("UPDATE subscription_tombstones SET user_id = '' WHERE user_id IS NULL")
    op.alter_column("subscription_tombstones", "user_id", nullable=False)
    op.execute("DELETE FROM subscription_changes WHERE user_id IS NULL")
    op.alter_column("subscription_changes", "user_id", nullable=False)
    op.drop_column("subscription_changes", "project_id")
    op.drop_column("billing_subscriptions", "owner_project_id")
    op.drop_column("billing_subscriptions", "owner_user_id")
    op.drop_table("billing_owners")


def _allow(kinds: tuple[str, ...]) -> None:
    op.drop_constraint("kind", "account_changes", type_="check")
    op.create_check_constraint("kind", "account_changes", f"kind IN {kinds!r}")

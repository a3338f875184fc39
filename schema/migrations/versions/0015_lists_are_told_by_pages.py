"""Lists of subscriptions and of owners are told page by page, each page by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

additive = True
"""Indexes alone. Who writes subscriptions waits while theirs are built."""


def upgrade() -> None:
    op.create_index(
        "billing_subscriptions_kind_idx", "billing_subscriptions", ["plan", "stripe_subscription_status", "id"]
    )
    op.create_index(
        "billing_subscriptions_owner_project_id_idx",
        "billing_subscriptions",
        ["owner_project_id", "id"],
        postgresql_where=sa.text("owner_project_id IS NOT NULL"),
    )
    _find_owners_by("owner_id", "owner_kind", "billing_customer_id")


def downgrade() -> None:
    _find_owners_by("owner_id", "owner_kind")
    op.drop_index("billing_subscriptions_owner_project_id_idx", "billing_subscriptions")
    op.drop_index("billing_subscriptions_kind_idx", "billing_subscriptions")


def _find_owners_by(*columns: str) -> None:
    op.drop_index("billing_owners_owner_idx", "billing_owners")
    op.create_index("billing_owners_owner_idx", "billing_owners", list(columns))

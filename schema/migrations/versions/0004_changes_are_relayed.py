"""Changes are published: one may be a row's removal, and one may be refused by nsqd."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it only append changes, as before."""


def upgrade() -> None:
    op.alter_column("subscription_changes", "after", existing_type=JSONB(), nullable=True)
    op.add_column("subscription_changes", sa.Column("refused_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("subscription_changes", "refused_at")
    op.execute("DELETE FROM subscription_changes WHERE after IS NULL")
    op.alter_column("subscription_changes", "after", existing_type=JSONB(), nullable=False)

"""Processes say that they live, and share Stripe's rate."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it go on with the share that they are configured with."""


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rate", sa.Double(), nullable=False),
        sa.Column("demand", sa.Double(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("longest_request", sa.Interval(), nullable=False),
        comment="The processes that live, and what each may send to Stripe",
    )


def downgrade() -> None:
    op.drop_table("processes")

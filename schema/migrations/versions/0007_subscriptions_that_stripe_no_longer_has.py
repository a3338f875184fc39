"""A subscription that Stripe no longer has is set aside, and asked for rarely."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it go on asking each hour."""

_TIMES = ("missing_since", "set_aside_at")


def upgrade() -> None:
    for name in _TIMES:
        op.add_column("subscription_refreshes", sa.Column(name, sa.DateTime(timezone=True)))


def downgrade() -> None:
    for name in reversed(_TIMES):
        op.drop_column("subscription_refreshes", name)

"""How far Stripe's events were polled, when they are polled next, and what of the month's reads that took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

additive = True
"""Nobody polled before."""

_TIMES = ("caught_up_at", "poll_at", "gap_from", "gap_to")


def upgrade() -> None:
    for name in _TIMES:
        op.add_column("stripe_event_cursor", sa.Column(name, sa.DateTime(timezone=True)))
    op.create_table(
        "stripe_reads",
        sa.Column("month", sa.Date(), primary_key=True),
        sa.Column("purpose", sa.Text(), primary_key=True),
        sa.Column("reads", sa.BigInteger(), nullable=False),
        comment="Reads of Stripe's monthly allotment (UTC months), by what for",
    )


def downgrade() -> None:
    op.drop_table("stripe_reads")
    for name in reversed(_TIMES):
        op.drop_column("stripe_event_cursor", name)

"""A try of charging in order names the subscription whose invoice it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

additive = True
"""What processes that know nothing of it write is judged as before."""


def upgrade() -> None:
    op.add_column("charge_tries", sa.Column("stripe_subscription_id", sa.Text()))


def downgrade() -> None:
    op.drop_column("charge_tries", "stripe_subscription_id")

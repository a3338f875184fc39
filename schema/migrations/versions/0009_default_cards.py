"""Default payment methods, of subscriptions and of customers: whether somebody could be charged. And which payment
methods there are, and were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of them leave them as they are; `subkeeper verify --repair` brings what they missed."""

_TIME = sa.DateTime(timezone=True)
_COLUMNS = {
    "billing_customers": (
        sa.Column("default_payment_method", sa.Text()),
        sa.Column("default_seen_from", _TIME),
        sa.Column("default_seen_to", _TIME),
    ),
    "billing_subscriptions": (
        sa.Column("default_payment_method", sa.Text()),
        sa.Column("customer_default_payment_method", sa.Text()),
    ),
}


def upgrade() -> None:
    op.alter_column("payment_methods", "priority", nullable=True)
    op.add_column("payment_methods", sa.Column("as_of", _TIME, nullable=False, server_default=sa.text("now()")))
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.add_column(table, column)


def downgrade() -> None:
    op.execute("DELETE FROM payment_methods WHERE priority IS NULL")
    op.drop_column("payment_methods", "as_of")
    op.alter_column("payment_methods", "priority", nullable=False)
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.drop_column(table, column.name)

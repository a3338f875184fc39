"""Rows say since when a key of theirs may have been used, and what Stripe refused of them.

A database says who it is, so that two of them on one Stripe account are told apart. Customers are found by user also
where they were deleted.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it leave the new columns NULL, which is read as "not known"."""


def upgrade() -> None:
    op.add_column(
        "deployment",
        sa.Column("database_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
    )
    op.create_index("billing_customers_user_id_idx", "billing_customers", ["user_id"])
    op.add_column("provisionings", sa.Column("key_possible_since", sa.DateTime(timezone=True)))
    op.add_column("provisionings", sa.Column("refusal", sa.Text()))
    op.add_column("provisionings", sa.Column("refused_at", sa.DateTime(timezone=True)))
    op.add_column(
        "provisionings", sa.Column("others_passed", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index(
        "provisionings_refused_idx", "provisionings", ["user_id"], postgresql_where=sa.text("refusal IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("provisionings_refused_idx", table_name="provisionings")
    op.drop_column("provisionings", "others_passed")
    op.drop_column("provisionings", "refused_at")
    op.drop_column("provisionings", "refusal")
    op.drop_column("provisionings", "key_possible_since")
    op.drop_index("billing_customers_user_id_idx", table_name="billing_customers")
    op.drop_column("deployment", "database_id")

"""Pages of Checkout's that users were sent to, and what came of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it open no pages. Those that make changes, and don't know these kinds, must not run
beside others that do: no release is like that."""

_TIME = sa.DateTime(timezone=True)
_KINDS = ("create", "update", "delete")
_MORE = ("checkout", "completion", "portal")


def upgrade() -> None:
    op.create_table(
        "checkouts",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text()),
        sa.Column("mode", sa.Text()),
        sa.Column("stripe_session_id", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'opening'")),
        sa.Column("code", sa.Text()),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("ended_at", _TIME),
        sa.UniqueConstraint("stripe_session_id"),
        sa.CheckConstraint("mode IN ('setup', 'subscription')", name="mode"),
        sa.CheckConstraint(
            "state IN ('opening', 'open', 'complete', 'applying', 'applied', 'failed', 'expired')", name="state"
        ),
        sa.CheckConstraint("(state IN ('applied', 'failed', 'expired')) = (ended_at IS NOT NULL)", name="ended"),
        comment="Pages of Checkout's that users were sent to, and what came of them",
    )
    op.create_index(
        "checkouts_open_key", "checkouts", ["user_id"], unique=True, postgresql_where=sa.text("state = 'open'")
    )
    op.create_index("checkouts_complete_idx", "checkouts", ["seq"], postgresql_where=sa.text("state = 'complete'"))
    op.create_index("checkouts_user_id_idx", "checkouts", ["user_id", "seq"])
    op.create_index("checkouts_ended_idx", "checkouts", ["ended_at"])
    _allow(_KINDS + _MORE)


def downgrade() -> None:
    op.execute("DELETE FROM account_changes WHERE kind IN ('checkout', 'completion', 'portal')")
    _allow(_KINDS)
    op.drop_table("checkouts")


def _allow(kinds: tuple[str, ...]) -> None:
    op.drop_constraint("kind", "account_changes", type_="check")
    op.create_check_constraint("kind", "account_changes", f"kind IN {kinds!r}")

"""Users are erased: asked for like any change, and when it was done is in the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it erase nobody, and take in nothing for users who are `erasing` or `erased`: the
first release knew these states. Those that make changes, and don't know this kind, must not run beside others that do:
no release is like that."""

_KINDS = ("create", "update", "delete", "checkout", "completion", "portal", "detachment", "details")


def upgrade() -> None:
    op.add_column("provisionings", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.create_index("account_changes_user_id_idx", "account_changes", ["user_id"])
    _allow((*_KINDS, "erase"))


def downgrade() -> None:
    op.execute("DELETE FROM account_changes WHERE kind = 'erase'")
    _allow(_KINDS)
    op.drop_index("account_changes_user_id_idx", "account_changes")
    op.drop_column("provisionings", "erased_at")


def _allow(kinds: tuple[str, ...]) -> None:
    op.drop_constraint("kind", "account_changes", type_="check")
    op.create_check_constraint("kind", "account_changes", f"kind IN {kinds!r}")

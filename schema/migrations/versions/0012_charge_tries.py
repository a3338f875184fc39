"""Payment methods are taken away by request."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

additive = True
"""Processes that make changes, and don't know this kind, must not run beside others that do: no release is like
that."""

_KINDS = ("create", "update", "delete", "checkout", "completion", "portal")
_MORE = ("detachment",)


def upgrade() -> None:
    _allow(_KINDS + _MORE)


def downgrade() -> None:
    op.execute("DELETE FROM account_changes WHERE kind = 'detachment'")
    _allow(_KINDS)


def _allow(kinds: tuple[str, ...]) -> None:
    op.drop_constraint("kind", "account_changes", type_="check")
    op.create_check_constraint("kind", "account_changes", f"kind IN {kinds!r}")

"""Invoices are charged by the next card in order, and payment methods are taken away by request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

additive = True
"""Processes that know nothing of it charge nothing by themselves. Those that make changes, and don't know this kind,
must not run beside others that do: no release is like that."""

_TIME = sa.DateTime(timezone=True)
_KINDS = ("create", "update", "delete", "checkout", "completion", "portal")
_MORE = ("detachment",)


def upgrade() -> None:
    _allow(_KINDS + _MORE)
    op.create_table(
        "failing_invoices",
        sa.Column("stripe_invoice_id", sa.Text(), primary_key=True),
        sa.Column("wanted", sa.BigInteger(), nullable=False, server_default=sa.text("1")),
        sa.Column("marked_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("due_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("lease_token", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("lease_until", _TIME),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("last_error", sa.Text()),
        comment="Invoices whose payment failed: marked by events, looked at by leased work",
    )
    op.create_index("failing_invoices_due_at_idx", "failing_invoices", ["due_at"])
    op.create_table(
        "charge_tries",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("stripe_payment_method_id", sa.Text(), nullable=False),
        sa.Column("stripe_customer_id", sa.Text(), nullable=False),
        sa.Column("is_ours", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("asked_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("outcome", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("created_at", _TIME, nullable=False, server_default=sa.text("now()")),
        sa.Column("ended_at", _TIME),
        sa.UniqueConstraint("stripe_invoice_id", "attempt_count", "stripe_payment_method_id"),
        sa.CheckConstraint("outcome IN ('paid', 'pending', 'declined', 'refused', 'overtaken')", name="outcome"),
        sa.CheckConstraint(
            "(outcome IS NULL) = (ended_at IS NULL) AND (is_ours OR ended_at IS NOT NULL)", name="ended"
        ),
        comment="Which payment method an invoice was tried with, by us and, where we saw it, by others",
    )
    op.create_index(
        "charge_tries_unresolved_key",
        "charge_tries",
        ["stripe_invoice_id"],
        unique=True,
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_index("charge_tries_stripe_customer_id_idx", "charge_tries", ["stripe_customer_id"])


def downgrade() -> None:
    op.drop_table("charge_tries")
    op.drop_table("failing_invoices")
    op.execute("DELETE FROM account_changes WHERE kind = 'detachment'")
    _allow(_KINDS)


def _allow(kinds: tuple[str, ...]) -> None:
    op.drop_constraint("kind", "account_changes", type_="check")
    op.create_check_constraint("kind", "account_changes", f"kind IN {kinds!r}")

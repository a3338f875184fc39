"""Alembic's entry: runs the migrations on the connection it is handed (worker/store/engine/migrations.py)."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, inspect
from sqlalchemy.dialects.postgresql import insert

from schema.tables import metadata, schema_revisions


def _record(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG001 - alembic's signature
    """Notes which revision was applied and whether it is additive, in the migration's own transaction."""
    if not step.is_upgrade:
        if not inspect(ctx.connection).has_table(schema_revisions.name):
            return  # the first migration has taken it along
        gone = schema_revisions.c.revision == step.up_revision_id
        ctx.connection.execute(schema_revisions.delete().where(gone))
        return
    module = step.up_revision.module
    ctx.connection.execute(
        insert(schema_revisions).values(revision=step.up_revision_id, additive=module.additive).on_conflict_do_nothing()
    )


connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transaction_per_migration=True,
    on_version_apply=_record,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()

"""What the role of a running Subkeeper must be allowed to do. Who migrates owns the tables, and needs none of this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

NEEDED: Mapping[str, tuple[str, ...]] = {
    "alembic_version": ("SELECT",),
    "schema_revisions": ("SELECT",),
    "deployment": ("SELECT", "INSERT"),
    "processes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "provisionings": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "billing_customers": ("SELECT", "INSERT", "UPDATE"),
    "billing_owners": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "billing_subscriptions": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "payment_methods": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "failing_invoices": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "charge_tries": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "subscription_tombstones": ("SELECT", "INSERT"),
    "account_changes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "subscription_counts": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "checkouts": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "subscription_changes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "subscription_refreshes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "processed_stripe_events": ("SELECT", "INSERT", "DELETE"),
    "unmatched_subscriptions": ("SELECT", "INSERT", "DELETE"),
    "stripe_event_cursor": ("SELECT", "INSERT", "UPDATE"),
    "stripe_reads": ("SELECT", "INSERT", "UPDATE"),
    "quarantined_messages": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}
"""Privileges by table, the commands for people included. Identity columns need no grant on their sequences."""


@dataclass(frozen=True, slots=True)
class Grants:
    """What `role` (quoted as SQL wants it) lacks. `missing`: privileges by table that is there.

    `hidden_in`: the schemas with tables of ours that it may not use. `temporary`: it may make temporary tables.
    """

    role: str
    missing: dict[str, list[str]]
    hidden_in: list[str]
    temporary: bool


_MISSING = text("""
    SELECT needed.name, needed.privilege
    FROM unnest(CAST(:names AS text[]), CAST(:privileges AS text[])) AS needed (name, privilege)
    WHERE NOT has_table_privilege(to_regclass(needed.name), needed.privilege)
""")

_HIDDEN = text("""
    SELECT DISTINCT quote_ident(nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = ANY(:names) AND relkind IN ('r', 'p') AND NOT has_schema_privilege(relnamespace, 'USAGE')
""")

_ROLE = text("SELECT quote_ident(current_user), has_database_privilege(current_database(), 'TEMPORARY')")


def lacking(tx: Connection) -> Grants:
    """What the present role lacks on the tables that are there. Changes nothing."""
    needed = [(table, privilege) for table, privileges in NEEDED.items() for privilege in privileges]
    names, privileges = zip(*needed, strict=True)
    missing: dict[str, list[str]] = {}
    for name, privilege in tx.execute(_MISSING, {"names": list(names), "privileges": list(privileges)}):
        missing.setdefault(name, []).append(privilege)
    hidden = tx.execute(_HIDDEN, {"names": list(NEEDED)}).scalars().all()
    role, temporary = tx.execute(_ROLE).one()
    return Grants(role, missing, list(hidden), temporary)

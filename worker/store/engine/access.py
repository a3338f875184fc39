"""What a role must be granted to run Subkeeper, as a person is told: the GRANTs that are missing, ready to be run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from worker.errors import Misconfigured
from worker.store.engine.grants import NEEDED, lacking


def granting(role: str, privileges: Mapping[str, Sequence[str]]) -> str:
    """The statements that give `role` (quoted as SQL wants it) these `privileges` by table, alike ones in one."""
    tables: dict[str, list[str]] = {}
    for table, wanted in privileges.items():
        tables.setdefault(", ".join(wanted), []).append(table)
    return "; ".join(f"GRANT {wanted} ON {', '.join(names)} TO {role}" for wanted, names in tables.items())


def granting_all(role: str, table: str) -> str:
    """What a role named `role` needs on one table."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", role)
    quoted = role if plain else '"' + role.replace('"', '""') + '"'
    return granting(quoted, {table: NEEDED[table]})


def require_grants(connection: Connection) -> None:
    """Raises `Misconfigured` unless the present role may do all that running needs on the tables that are there."""
    found = lacking(connection)
    if found.hidden_in:
        schemas = ", ".join(found.hidden_in)
        fix = f"As its owner: GRANT USAGE ON SCHEMA {schemas} TO {found.role}"
        raise Misconfigured("database.url", f"the role {found.role} may not use the schema {schemas}", fix)
    if found.missing:
        tables = ", ".join(found.missing)
        fix = f"As their owner: {granting(found.role, found.missing)}"
        raise Misconfigured("database.url", f"the role {found.role} lacks privileges on {tables}", fix)

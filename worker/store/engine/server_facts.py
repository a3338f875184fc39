"""How a Postgres server is set up, as far as Subkeeper's promise depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Settings as they hold in this session; timeouts in seconds, `now` in UTC.

    `connections`: how many a role that is no superuser may have at most.
    """

    version: str
    version_number: int
    database: str
    role: str
    in_recovery: bool
    read_only: bool
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    statement_timeout: float
    lock_timeout: float
    connections: int
    now: datetime


_FACTS = text("""
    SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_database(),
           current_user, pg_is_in_recovery(), current_setting('transaction_read_only')::bool,
           current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
           current_setting('synchronous_commit'),
           (SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'statement_timeout'),
           (SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'lock_timeout'),
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
           clock_timestamp()
""")


def server_facts(tx: Connection) -> ServerFacts:
    return ServerFacts(*tx.execute(_FACTS).one())

"""Postgres: the server, the schema, what the role may do, and what survives a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from worker.errors import Misconfigured, SubkeeperError
from worker.runtime.doctor.findings import Finding, Findings, Verdict, ok, problem, refused, skipped, warning
from worker.settings.model import Settings
from worker.settings.secrets import masked_url
from worker.store import deployment
from worker.store.engine import grants, migrations, revision
from worker.store.engine.access import granting
from worker.store.engine.database import Database
from worker.store.engine.grants import Grants
from worker.store.engine.server_facts import ServerFacts, server_facts

SERVER, SCHEMA, GRANTS, WRITES = "postgres", "postgres.schema", "postgres.grants", "postgres.writes"
DURABILITY, TIMEOUTS, CONNECTIONS = "postgres.durability", "postgres.timeouts", "postgres.connections"

REVISION_TABLES = {"alembic_version", "schema_revisions"}
OLDEST_SERVER = 13
"""The first with gen_random_uuid(), which a table's default calls."""


class PostgresCheck:
    """`findings` fills in what other checks need: whose database it is, and how far its clock is ahead of ours."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self.owner: Mapping[str, object] | None = None
        self.owner_known = False
        self.ahead: timedelta | None = None

    def findings(self) -> Findings:
        database = Database(self._settings.database, application_name="subkeeper doctor")
        try:
            yield from self._examine(database)
        finally:
            database.close()

    def _examine(self, database: Database) -> Findings:
        try:
            facts = self._facts(database)
        except SubkeeperError as error:
            yield refused(SERVER, error, "Check database.url (host, port, role, database, password), and the server")
            for check in (SCHEMA, GRANTS, WRITES, DURABILITY, TIMEOUTS, CONNECTIONS):
                yield skipped(check, "Postgres can't be reached")
            return
        yield self._server(facts)
        yield from self._tables(database, facts)
        yield check_writes(facts)
        yield check_durability(facts)
        yield self._timeouts(facts)
        yield self._connections(facts)

    def _facts(self, database: Database) -> ServerFacts:
        with database.transaction() as tx:
            before = self._now()
            facts = server_facts(tx)
            self.ahead = facts.now - (before + (self._now() - before) / 2)
        return facts

    def _server(self, facts: ServerFacts) -> Finding:
        where = f"{masked_url(self._settings.database.url.get_secret_value())} as {facts.role}"
        said = f"{where}: PostgreSQL {facts.version}"
        if facts.version_number < OLDEST_SERVER * 10_000:
            return problem(SERVER, f"{said} is too old", f"Use PostgreSQL {OLDEST_SERVER} or newer")
        return ok(SERVER, said)

    def _tables(self, database: Database, facts: ServerFacts) -> Findings:
        """Grants first: what a role may not see looks like a missing schema."""
        with database.transaction() as tx:
            lacking = grants.lacking(tx)
        if lacking.hidden_in:
            yield check_grants(lacking, facts.database)
            yield skipped(SCHEMA, "the role may not see it")
            return
        schema = self._schema(database) if not lacking.missing.keys() & REVISION_TABLES else None
        yield schema or skipped(SCHEMA, "the role may not read its revision")
        if schema and schema.verdict is Verdict.PROBLEM:
            yield skipped(GRANTS, "the schema comes first")
            return
        yield check_grants(lacking, facts.database)
        if "deployment" not in lacking.missing:
            self._find_owner(database)

    def _schema(self, database: Database) -> Finding:
        with database.connection() as connection:
            try:
                revision.require_compatible(connection)
            except Misconfigured as error:
                return refused(SCHEMA, error, "")
            at = revision.current(connection)
            unlike = migrations.differences(connection) if at == revision.head() else []
        if unlike:
            detail = f"{len(unlike)} difference(s) from what the migrations make"
            return problem(SCHEMA, detail, "`subkeeper db check` lists them: undo what was changed by hand")
        return ok(SCHEMA, f"at {at}, on which this Subkeeper can work")

    def _find_owner(self, database: Database) -> None:
        with database.transaction() as tx:
            self.owner = deployment.owner(tx)
        self.owner_known = True

    def _timeouts(self, facts: ServerFacts) -> Finding:
        """A pooler may drop what a connection asks for as it begins."""
        asked = self._settings.database
        if (facts.statement_timeout, facts.lock_timeout) == (asked.statement_timeout, asked.lock_timeout):
            return ok(TIMEOUTS, f"{facts.statement_timeout:g} s a statement, {facts.lock_timeout:g} s for a lock")
        detail = f"{facts.statement_timeout:g} s a statement and {facts.lock_timeout:g} s for a lock are in force"
        detail += f", not {asked.statement_timeout:g} and {asked.lock_timeout:g} as configured"
        return problem(TIMEOUTS, detail, "Let the pooler pass the startup parameter `options` on")

    def _connections(self, facts: ServerFacts) -> Finding:
        pool = self._settings.database.pool_size
        said = f"a process takes {pool} at most, the server gives {facts.connections} to all"
        if pool > facts.connections:
            return warning(CONNECTIONS, said, "Lower database.pool_size, or raise max_connections")
        return ok(CONNECTIONS, said)


def check_grants(lacking: Grants, database: str) -> Finding:
    if lacking.hidden_in:
        fix = f"GRANT USAGE ON SCHEMA {', '.join(lacking.hidden_in)} TO {lacking.role}"
        return problem(GRANTS, f"{lacking.role} may not use the schema that holds the tables", fix)
    if lacking.missing:
        tables = ", ".join(lacking.missing)
        return problem(GRANTS, f"{lacking.role} lacks privileges on {tables}", granting(lacking.role, lacking.missing))
    if not lacking.temporary:
        fix = f'GRANT TEMPORARY ON DATABASE "{database}" TO {lacking.role}'
        return warning(GRANTS, f"{lacking.role} may not make temporary tables, which backfill needs", fix)
    return ok(GRANTS, f"{lacking.role} may do all that a worker and its commands do")


def check_writes(facts: ServerFacts) -> Finding:
    if facts.in_recovery:
        return problem(WRITES, "this server is a replica: nothing can be written", "Name the primary in database.url")
    if facts.read_only:
        fix = "Look for default_transaction_read_only at the server, the database and the role"
        return problem(WRITES, "transactions are read-only here", fix)
    return ok(WRITES, "the server is a primary and takes writes")


def check_durability(facts: ServerFacts) -> Finding:
    """A message is finished once its row is committed, so a commit must last."""
    if not facts.fsync:
        return problem(DURABILITY, "fsync is off: a crash can lose or corrupt everything", "Set fsync = on")
    if facts.synchronous_commit == "off":
        detail = "synchronous_commit is off: a crash loses commits whose messages are finished"
        return problem(DURABILITY, detail, "Set synchronous_commit = on, for this role and database too")
    if not facts.full_page_writes:
        detail = "full_page_writes is off: safe only where the file system never tears a page"
        return warning(DURABILITY, detail, "Set full_page_writes = on")
    return ok(DURABILITY, f"fsync on, synchronous_commit {facts.synchronous_commit}, full_page_writes on")

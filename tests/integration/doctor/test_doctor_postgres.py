"""What the doctor finds at Postgres, and that its fix is one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from sandbox.postgres import PostgresServer
from tests.integration.doctor.conftest import Examine
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile
from worker.runtime.doctor.findings import Verdict
from worker.runtime.doctor.postgres import PostgresCheck
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database
from worker.store.engine.grants import NEEDED
from worker.store.engine.server_facts import server_facts


@pytest.fixture
def role(stack: Stack) -> Iterator[str]:
    """A role that may do nothing yet."""
    name = f"worker_{secrets.token_hex(4)}"
    stack.rows(f"CREATE ROLE {name} LOGIN")
    yield name
    stack.rows(f"DROP OWNED BY {name}")
    stack.rows(f"DROP ROLE {name}")


def url_as(stack: Stack, role: str) -> str:
    return stack.database_url.replace("postgres@", f"{role}@")


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_server_that_is_away_hides_nothing_else(stack: Stack, examined: Examine) -> None:
    found = examined(stack, SUBKEEPER_DATABASE__URL="postgresql://somebody:swordfish@127.0.0.1:1/nothing")
    assert found.unwell == {"postgres": Verdict.PROBLEM}
    assert "swordfish" not in str(found.findings)
    assert found.one("postgres").fix
    assert found.one("postgres.schema").verdict is Verdict.SKIPPED
    assert found.one("stripe").verdict is Verdict.OK
    assert found.one("deployment").verdict is Verdict.SKIPPED


def test_a_database_without_schema_is_sent_to_db_upgrade(
    new_stack: NewStack, empty_database_url: str, examined: Examine
) -> None:
    found = examined(new_stack(database_url=empty_database_url)).one("postgres.schema")
    assert found.verdict is Verdict.PROBLEM
    assert "subkeeper db upgrade" in found.fix


def test_tables_changed_by_hand_are_a_problem(stack: Stack, examined: Examine) -> None:
    stack.rows("ALTER TABLE provisionings DROP COLUMN last_error")
    found = examined(stack).one("postgres.schema")
    assert (found.verdict, "db check" in found.fix) == (Verdict.PROBLEM, True)


def test_the_grants_that_it_names_are_the_ones_that_a_worker_needs(stack: Stack, role: str, examined: Examine) -> None:
    """From nothing, by its fixes alone, to a worker that settles, and to all commands' needs."""
    mine = {"SUBKEEPER_DATABASE__URL": url_as(stack, role)}
    found = examined(stack, **mine)
    assert found.one("postgres.schema").verdict is Verdict.SKIPPED
    lacking = found.one("postgres.grants")
    assert lacking.verdict is Verdict.PROBLEM
    for table in NEEDED:
        assert table in lacking.fix
    execute(stack.database_url, lacking.fix)
    assert examined(stack, **mine).unwell == {}
    worker = stack.start_worker(**mine)
    stack.publish(profile("ada"), b"not a profile")
    stack.await_completed("ada")
    assert worker.stop() == 0
    assert stack.rows("SELECT reason FROM quarantined_messages")


@pytest.mark.parametrize(("table", "privilege"), [(table, each) for table, all_ in NEEDED.items() for each in all_])
def test_each_grant_is_missed_by_its_name(
    stack: Stack, role: str, examined: Examine, table: str, privilege: str
) -> None:
    tables = [f"GRANT {', '.join(each)} ON {name} TO {role}" for name, each in NEEDED.items()]
    execute(stack.database_url, *tables, f"REVOKE {privilege} ON {table} FROM {role}")
    [finding] = [
        each
        for each in PostgresCheck(stack.settings(SUBKEEPER_DATABASE__URL=url_as(stack, role)), _now).findings()
        if each.check == "postgres.grants"
    ]
    assert (finding.verdict, finding.fix) == (Verdict.PROBLEM, f"GRANT {privilege} ON {table} TO {role}")


def test_a_schema_that_the_role_may_not_use_is_told(stack: Stack, role: str, examined: Examine) -> None:
    execute(stack.database_url, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    found = examined(stack, SUBKEEPER_DATABASE__URL=url_as(stack, role))
    assert found.one("postgres.grants").fix == f"GRANT USAGE ON SCHEMA public TO {role}"
    assert found.one("postgres.schema").verdict is Verdict.SKIPPED


def test_without_temporary_tables_backfill_is_warned_of(stack: Stack, role: str, examined: Examine) -> None:
    database = stack.database_url.rpartition("/")[2]
    grants = [f"GRANT {', '.join(each)} ON {name} TO {role}" for name, each in NEEDED.items()]
    execute(stack.database_url, *grants, f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    mine = {"SUBKEEPER_DATABASE__URL": url_as(stack, role)}
    found = examined(stack, **mine).one("postgres.grants")
    assert (found.verdict, "backfill" in found.detail) == (Verdict.WARNING, True)
    execute(stack.database_url, found.fix)
    assert examined(stack, **mine).unwell == {}


def test_commits_that_do_not_last_are_a_problem(stack: Stack, examined: Examine) -> None:
    database = stack.database_url.rpartition("/")[2]
    execute(stack.database_url, f"ALTER DATABASE {database} SET synchronous_commit = off")
    found = examined(stack).one("postgres.durability")
    assert (found.verdict, "synchronous_commit = on" in found.fix) == (Verdict.PROBLEM, True)


def test_a_read_only_database_is_a_problem(stack: Stack, examined: Examine) -> None:
    database = stack.database_url.rpartition("/")[2]
    execute(stack.database_url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    found = examined(stack).one("postgres.writes")
    assert (found.verdict, "default_transaction_read_only" in found.fix) == (Verdict.PROBLEM, True)


def test_a_replica_and_a_server_without_fsync_are_problems(
    new_postgres: Callable[[], PostgresServer], stack: Stack, examined: Examine
) -> None:
    server = new_postgres()
    url = {"SUBKEEPER_DATABASE__URL": server.create_database("subkeeper")}
    execute(server.database_url(), "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
    found = examined(stack, **url)
    assert found.one("postgres.durability").verdict is Verdict.WARNING
    execute(server.database_url(), "ALTER SYSTEM SET fsync = off")
    server.stop()
    (server.directory / "data" / "standby.signal").touch()
    server.start()
    found = examined(stack, **url)
    assert "replica" in found.one("postgres.writes").detail
    assert (found.one("postgres.durability").verdict, found.one("postgres.durability").fix) == (
        Verdict.PROBLEM,
        "Set fsync = on",
    )


def test_what_no_server_here_is_like(stack: Stack, database_url: str) -> None:
    """Too old, too few connections, a pooler that drops the timeouts: the facts of a real server, changed."""
    settings = stack.settings()
    check = PostgresCheck(settings, _now)
    database = Database(DatabaseSettings(url=SecretStr(database_url)))
    with database.transaction() as tx:
        facts = server_facts(tx)
    database.close()
    assert check._server(replace(facts, version_number=120_011)).verdict is Verdict.PROBLEM
    assert check._connections(replace(facts, connections=19)).verdict is Verdict.WARNING
    assert check._timeouts(replace(facts, statement_timeout=0.0)).verdict is Verdict.PROBLEM


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0, Verdict.OK), (10, Verdict.WARNING), (-10, Verdict.WARNING), (3600, Verdict.PROBLEM)]
)
def test_a_wrong_clock_of_this_machine_is_seen(stack: Stack, examined: Examine, seconds: int, verdict: Verdict) -> None:
    found = examined(stack, now=lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    assert [each.verdict for each in found.of("clocks")] == [verdict, verdict], "beside Postgres's and beside Stripe's"


def _now() -> datetime:
    return datetime.now(UTC)

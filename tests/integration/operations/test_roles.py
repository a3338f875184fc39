"""Two roles, as docs/operations.md grants them: one owns the tables and migrates, one runs and may do no more."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from sandbox.postgres import PostgresServer
from tests.support.commands import Commands, Said
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


@dataclass
class Roles:
    """A database that belongs to `owner`, and URLs for both roles."""

    server: PostgresServer
    database: str
    owner: str
    app: str

    def url(self, role: str) -> str:
        parts = urlsplit(self.server.database_url(self.database))
        return urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}"))

    def execute(self, *statements: str, role: str) -> None:
        with psycopg.connect(self.url(role), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


def documented_grants(owner: str, app: str, database: str) -> list[str]:
    """The statements of the page, for these roles."""
    page = OPERATIONS.read_text()
    block = re.search(r"```sql\n(.*?GRANT.*?)```", page, re.DOTALL)
    assert block is not None, "docs/operations.md has no grants"
    text = re.sub(r"--.*", "", block[1])
    for name, ours in {
        "subkeeper_owner": owner,
        "subkeeper_app": app,
        "DATABASE subkeeper": f"DATABASE {database}",
    }.items():
        text = text.replace(name, ours)
    return [statement.strip() for statement in text.split(";") if statement.strip()]


@pytest.fixture
def roles(postgres_server: PostgresServer) -> Iterator[Roles]:
    """An empty database and two roles without any privilege of their own."""
    tag = secrets.token_hex(4)
    roles = Roles(postgres_server, f"roles_{tag}", f"owner_{tag}", f"app_{tag}")
    postgres_server.create_database(roles.database)
    roles.execute(f"CREATE ROLE {roles.owner} LOGIN", f"CREATE ROLE {roles.app} LOGIN", role="postgres")
    yield roles
    postgres_server.drop_database(roles.database)
    with psycopg.connect(postgres_server.database_url(), autocommit=True) as connection:
        for role in (roles.owner, roles.app):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def as_app(commands: Commands, roles: Roles) -> Commands:
    """Commands by the role that runs, before anything is migrated or granted."""
    commands.environ["SUBKEEPER_DATABASE__URL"] = roles.url(roles.app)
    return commands


def grant(roles: Roles) -> None:
    """What the page says, by who may."""
    for statement in documented_grants(roles.owner, roles.app, roles.database):
        roles.execute(statement, role="postgres" if "DATABASE" in statement or "SCHEMA" in statement else roles.owner)


def refused(said: Said, *words: str) -> None:
    """It ended as with any setting that a person must change: no traceback, and with these words."""
    assert said.code == 2, said
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said.err


def test_the_documented_grants_are_enough_for_everything_that_runs(
    stack: Stack, as_app: Commands, roles: Roles
) -> None:
    owner, app = roles.url(roles.owner), roles.url(roles.app)
    roles.execute(f"GRANT CREATE ON SCHEMA public TO {roles.owner}", role="postgres")
    assert as_app("setup", "--take-over", SUBKEEPER_DATABASE__URL=owner).code == 0
    grant(roles)
    assert as_app("db", "check").code == 0
    assert as_app("setup").code == 0, "where all is there, setup needs no more than running does"
    worker = stack.spawn("run", "all", SUBKEEPER_DATABASE__URL=app).await_start()
    stack.publish(profile("ada"), profile("bob"), b"poison", b"poison too")
    stack.database_url = owner
    stack.await_completed("ada", "bob")
    wait_until(lambda: len(stack.rows("SELECT 1 FROM quarantined_messages")) == 2)
    wait_until(lambda: len(stack.rows("SELECT 1 FROM subscription_changes WHERE sent_at IS NOT NULL")) == 2)
    users = as_app.directory / "users.ndjson"
    users.write_text("".join(json.dumps(profile(name)) + "\n" for name in ("ada", "cyd")))
    assert as_app("backfill", users, "--wait").code == 0
    stack.await_completed("cyd")
    first, second = (row["id"] for row in stack.rows("SELECT id FROM quarantined_messages ORDER BY id"))
    for line in (
        "quarantine list",
        f"quarantine show {first}",
        f"quarantine drop {first} --yes",
        f"quarantine retry {second}",
        "provisioning list",
        "provisioning show ada",
        "events list",
        "explain ada",
        "verify --repair",
    ):
        said = as_app(*line.split())
        assert said.code == 0, (line, said.err)
    assert worker.get("/readyz")[0] == 200, json.loads(worker.get("/readyz")[1])["parts"]["postgres"]
    assert not [line for line in worker.lines if line["level"] in ("error", "critical")]


def test_a_role_without_grants_is_told_which_and_no_worker_starts(as_app: Commands, roles: Roles) -> None:
    roles.execute(f"GRANT CREATE ON SCHEMA public TO {roles.owner}", role="postgres")
    assert as_app("setup", "--take-over", SUBKEEPER_DATABASE__URL=roles.url(roles.owner)).code == 0
    all_of_them = "GRANT SELECT, INSERT, UPDATE, DELETE ON processes, provisionings"
    for line in ("run profiles", "db check"):
        refused(as_app(*line.split()), roles.app, "provisionings", all_of_them)
    for line in ("setup", "provisioning list", "quarantine list", "quarantine drop 1 --yes"):
        refused(as_app(*line.split()), roles.app, f"GRANT SELECT ON alembic_version TO {roles.app}")
    roles.execute(f"GRANT SELECT ON alembic_version, schema_revisions TO {roles.app}", role=roles.owner)
    refused(as_app("provisioning", "list"), f"GRANT SELECT, INSERT, UPDATE, DELETE ON provisionings TO {roles.app}")
    refused(as_app("db", "check"), all_of_them)


def test_the_statement_that_is_told_is_the_one_that_helps(as_app: Commands, roles: Roles) -> None:
    roles.execute(f"GRANT CREATE ON SCHEMA public TO {roles.owner}", role="postgres")
    assert as_app("setup", "--take-over", SUBKEEPER_DATABASE__URL=roles.url(roles.owner)).code == 0
    said = as_app("db", "check")
    statements = said.err.partition("As their owner: ")[2].strip()
    assert statements.startswith("GRANT ")
    roles.execute(*statements.split("; "), role=roles.owner)
    assert as_app("db", "check").code == 0


def test_a_schema_that_the_role_may_not_use_is_not_taken_for_an_empty_database(as_app: Commands, roles: Roles) -> None:
    roles.execute(f"GRANT CREATE ON SCHEMA public TO {roles.owner}", role="postgres")
    assert as_app("setup", "--take-over", SUBKEEPER_DATABASE__URL=roles.url(roles.owner)).code == 0
    roles.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC", role="postgres")
    for line in ("run profiles", "db check", "provisioning list", "quarantine list"):
        refused(as_app(*line.split()), f"GRANT USAGE ON SCHEMA public TO {roles.app}")


def test_who_may_not_migrate_is_told_what_migrating_needs(as_app: Commands, roles: Roles) -> None:
    refused(as_app("db", "upgrade"), "create", "schema", "GRANT CREATE")
    refused(as_app("setup"), "create", "schema", "GRANT CREATE")


def test_privileges_that_are_taken_away_while_it_runs_are_waited_for_and_named(
    stack: Stack, as_app: Commands, roles: Roles
) -> None:
    roles.execute(f"GRANT CREATE ON SCHEMA public TO {roles.owner}", role="postgres")
    assert as_app("setup", "--take-over", SUBKEEPER_DATABASE__URL=roles.url(roles.owner)).code == 0
    grant(roles)
    worker = stack.spawn_worker(SUBKEEPER_DATABASE__URL=roles.url(roles.app))
    stack.database_url = roles.url(roles.owner)
    roles.execute(f"REVOKE ALL ON provisionings FROM {roles.app}", role=roles.owner)
    stack.publish(profile("ada"))
    wait_until(lambda: "GRANT SELECT, INSERT, UPDATE, DELETE ON provisionings" in worker.part("postgres")[1])
    assert worker.process.poll() is None
    grant(roles)
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_database_and_a_role_that_come_later_are_waited_for_loudly(
    stack: Stack, migrated_template: str, roles: Roles
) -> None:
    stack.control.reset()  # the products that say they are the set up database's
    later = f"later_{roles.database}"
    url = roles.server.database_url(later).replace("postgres@", f"late_{roles.app}@")
    worker = stack.spawn("run", "profiles", SUBKEEPER_DATABASE__URL=url)
    wait_until(lambda: worker.logged("health.listening"))
    worker.port = int(worker.logged("health.listening")[0]["port"])
    wait_until(lambda: "there is no such role" in worker.part("postgres")[1])
    status, body = worker.get("/healthz")
    assert status == 503
    assert f"/{later} as late_{roles.app}: " in body
    roles.execute(f"CREATE ROLE late_{roles.app} SUPERUSER LOGIN", role="postgres")
    wait_until(lambda: "there is no such database" in worker.part("postgres")[1])
    roles.server.create_database(later, template=migrated_template)
    worker.await_start()
    errors = [line for line in worker.logged("health.changed") if line["part"] == "postgres" and not line["ok"]]
    assert len(errors) <= 3, "an outage is told once, not each second"
    assert errors[-1]["level"] == "error"
    worker.kill()
    roles.server.drop_database(later)
    roles.execute(f"DROP ROLE late_{roles.app}", role="postgres")

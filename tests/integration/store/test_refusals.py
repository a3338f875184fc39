"""What a person reads when Postgres can't be used: where, why, and what to do; never the password."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from sqlalchemy import text

from sandbox.postgres import PostgresServer
from sandbox.stripe.server import StripeServer
from sandbox.workspace import Workspace
from worker.errors import AccessRefused, Unavailable
from worker.settings.loading import InvalidSettings
from worker.settings.model import Settings
from worker.settings.sections import DatabaseSettings
from worker.store.engine.database import Database


@dataclass
class Strict:
    """A server that lets each role of `ROLES` in, or doesn't, by its own rule."""

    port: int
    password: str

    def url(self, role: str, database: str = "postgres", password: str = "", options: str = "") -> str:
        login = f"{role}:{password}" if password else role
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}{options}"


ROLES = """
    CREATE ROLE careful LOGIN PASSWORD '{password}';
    CREATE ROLE banned LOGIN;
    CREATE ROLE group_only;
    CREATE ROLE full LOGIN CONNECTION LIMIT 0;
    CREATE ROLE outsider LOGIN;
    CREATE DATABASE closed;
    REVOKE CONNECT ON DATABASE closed FROM PUBLIC;
"""

HBA = """\
host all careful 127.0.0.1/32 scram-sha-256
host all banned 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
"""


@pytest.fixture(scope="module")
def strict(workspace: Workspace) -> Iterator[Strict]:
    with PostgresServer(workspace) as server:
        password = f"swordfish-{secrets.token_hex(8)}"
        (server._data / "pg_hba.conf").write_text(HBA)
        with psycopg.connect(server.database_url(), autocommit=True) as connection:
            for statement in ROLES.format(password=password).split(";")[:-1]:
                connection.execute(statement.encode())
            connection.execute("SELECT pg_reload_conf()")
        yield Strict(server.port, password)


def said(url: str, **settings: float) -> Unavailable:
    """What opening `url` ends with."""
    database = Database(DatabaseSettings.model_validate({"url": url, "connect_timeout": 2, **settings}))
    try:
        with pytest.raises(Unavailable) as failure:
            database.ping()
    finally:
        database.close()
    assert "\n" not in str(failure.value)
    return failure.value


@pytest.mark.parametrize(
    ("role", "database", "options", "why", "fix"),
    [
        ("careful", "postgres", "", "asks for a password", "PGPASSWORD"),
        ("careful:wrong", "postgres", "", "the password is wrong", "SUBKEEPER_DATABASE__URL"),
        ("outsider", "missing", "", "no such database", "createdb"),
        ("stranger", "postgres", "", "no such role", "createuser"),
        ("group_only", "postgres", "", "may not log in", "LOGIN"),
        ("banned", "postgres", "", "pg_hba.conf", "reload"),
        ("outsider", "closed", "", "may not connect", "GRANT CONNECT"),
        ("outsider", "postgres", "?sslmode=require", "TLS", "sslmode"),
        ("outsider", "postgres", "?sslmood=require", "option", "?"),
    ],
)
def test_what_postgres_refuses_a_person_must_mend(
    strict: Strict, role: str, database: str, options: str, why: str, fix: str
) -> None:
    name, _, password = role.partition(":")
    refusal = said(strict.url(name, database, password, options))
    assert isinstance(refusal, AccessRefused)
    assert f"127.0.0.1:{strict.port}/{database} as {name}: " in str(refusal)
    assert why in str(refusal)
    assert fix in str(refusal)
    assert not password or password not in str(refusal).replace("password is wrong", "")


def test_a_right_password_and_a_role_that_may_be_used_work(strict: Strict) -> None:
    database = Database(DatabaseSettings.model_validate({"url": strict.url("careful", password=strict.password)}))
    database.ping()
    database.close()


def _silent(stack: list[socket.socket]) -> str:
    listener = socket.create_server(("127.0.0.1", 0), backlog=5)
    stack.append(listener)
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_what_is_not_there_is_waited_for(strict: Strict) -> None:
    kept: list[socket.socket] = []
    cases = {
        "postgresql://app@127.0.0.1:1/db": ("127.0.0.1:1/db as app: nothing listens there", "Start Postgres"),
        "postgresql://app@no.such.host.invalid/db": ("no.such.host.invalid:5432/db as app: ", "Correct the host"),
        f"postgresql://app@{_silent(kept)}/db": ("/db as app: no answer in time", "firewall"),
        "postgresql://app@/db?host=/nowhere": ("/nowhere:5432/db as app: nothing listens on the local socket", "Name"),
        strict.url("full"): ("all its connections are in use", "pool_size"),
    }
    for url, words in cases.items():
        away = said(url)
        assert not isinstance(away, AccessRefused)
        for word in words:
            assert word in str(away)
    for listener in kept:
        listener.close()


def test_what_answers_and_is_not_postgres_is_told(stripe_server: StripeServer) -> None:
    away = said(f"postgresql://app@{stripe_server.url.removeprefix('http://')}/db?sslmode=disable")
    assert "what answers there is not Postgres" in str(away) or "the connection was lost" in str(away)


def test_no_password_is_ever_repeated(strict: Strict) -> None:
    for url in (strict.url("careful", "closed", "pass%40word"), "postgresql://app:hunter2@127.0.0.1:1/db"):
        text_ = str(said(url))
        for secret in ("pass@word", "pass%40word", "hunter2"):
            assert secret not in text_


@pytest.mark.parametrize("password", ["p@ss", "12/34@x", "a?b@c", "a#b@c"])
def test_a_password_that_parsers_would_read_differently_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(InvalidSettings) as refusal:
        Settings.load(None, {"SUBKEEPER_DATABASE__URL": f"postgresql://app:{password}@db.example/app"})
    assert "SUBKEEPER_DATABASE__URL" in str(refusal.value)
    assert "%40" in str(refusal.value) or "Write postgresql://" in str(refusal.value)
    assert password.partition("@")[0] not in re.sub(r"%..", "", str(refusal.value)).replace("app", "").split()


def test_a_read_only_server_is_named_with_its_fix(new_database: Callable[..., Database]) -> None:
    database = new_database()

    def work() -> None:
        with database.transaction() as tx:
            tx.execute(text("SET TRANSACTION READ ONLY"))
            tx.execute(text("DELETE FROM provisionings"))

    with pytest.raises(Unavailable) as away:
        work()
    assert re.search(r"127\.0\.0\.1:\d+/test_\w+ as postgres: it is read-only", str(away.value))
    assert "primary" in str(away.value)
    assert "25006" in str(away.value)


def test_a_pool_that_is_in_use_says_how_large_it_is(new_database: Callable[..., Database]) -> None:
    database = new_database(pool_size=2, connect_timeout=0.05)
    with database.transaction(), database.transaction(), pytest.raises(Unavailable) as away:
        database.ping()
    assert "all 2 connections of this process's pool were in use for 0.05 s" in str(away.value)
    assert "database.pool_size" in str(away.value)

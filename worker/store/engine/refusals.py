"""Why Postgres can't be used, for people: where (never the password), why, and what to do about it, in one line.

libpq has no code for a connection that fails, only words: Postgres's own English where the server speaks it. What is
not recognized is repeated as it was said. Errors of statements have codes (SQLSTATE), whatever the language; of those
only names of ours are repeated, since their words may quote a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import pq
from sqlalchemy import Engine

from worker.errors import AccessRefused, Unavailable
from worker.store.engine.access import granting_all
from worker.store.engine.grants import NEEDED


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pool connects to. `password`: to keep it out of what is said."""

    host: str
    port: str
    database: str
    role: str
    password: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.database} as {self.role}"


@dataclass(frozen=True, slots=True)
class Why:
    """`refused`: Postgres is there, and only a person can make it let us in. `fix` begins with a verb."""

    pattern: re.Pattern[str]
    reason: str
    fix: str
    refused: bool = False


def place(engine: Engine) -> Place:
    """Where `engine` connects to, with what libpq takes from the environment or by default."""
    _, given = engine.dialect.create_connect_args(engine.url)
    defaults = {
        option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val is not None
    }
    named = {**defaults, **{name: str(value) for name, value in given.items() if value is not None}}
    role = named.get("user", "(the system's user)")
    host = named.get("host") or named.get("hostaddr") or "(a local socket)"
    return Place(host, named.get("port", "5432"), named.get("dbname", role), role, named.get("password"))


_URL = "database.url"

_WHYS = (
    Why(re.compile("Connection refused"), "nothing listens there (connection refused)",
        f"Start Postgres, or correct host and port in {_URL}"),
    Why(re.compile("failed to resolve host|could not translate host name|Name or service not known"),
        "the host's name can't be resolved", f"Correct the host in {_URL}, or look at the DNS"),
    Why(re.compile("timeout expired|timed out"), "no answer in time (database.connect_timeout)",
        f"Look at the firewall and the route to it, or correct host and port in {_URL}"),
    Why(re.compile("No route to host|Network is unreachable|Network unreachable"), "there is no route to the host",
        f"Look at the network, or correct the host in {_URL}"),
    Why(re.compile("No such file or directory|Is the server running locally"), "nothing listens on the local socket",
        f"Name the host in {_URL}, or start Postgres"),
    Why(re.compile("invalid response|expected authentication request|unsupported frontend protocol"),
        "what answers there is not Postgres", f"Correct host and port in {_URL}", refused=True),
    Why(re.compile("connection unexpectedly|connection is lost|connection is closed|SYSCALL|reset by peer|Broken pipe"
                   "|has been closed"),
        "the connection was lost", "Look at the server's log, and at what stands between, if it happens again"),
    Why(re.compile("password authentication failed"), "the password is wrong, or there is no such role",
        "Give the right one in SUBKEEPER_DATABASE__URL, PGPASSWORD or ~/.pgpass", refused=True),
    Why(re.compile("no password supplied"), "it asks for a password, and none is given",
        "Give it in SUBKEEPER_DATABASE__URL, PGPASSWORD or ~/.pgpass", refused=True),
    Why(re.compile('database ".*" does not exist'), "there is no such database",
        f"Create it (createdb), or correct its name in {_URL}", refused=True),
    Why(re.compile('role ".*" does not exist'), "there is no such role",
        f"Create it (createuser), or correct its name in {_URL}", refused=True),
    Why(re.compile("is not permitted to log in"), "the role may not log in",
        "ALTER ROLE … LOGIN, or name another role", refused=True),
    Why(re.compile("permission denied for database"), "the role may not connect to this database",
        "GRANT CONNECT ON DATABASE … TO this role", refused=True),
    Why(re.compile(r"pg_hba\.conf"), "pg_hba.conf of the server doesn't let this role in from here",
        "Add a line for it there, and reload the server", refused=True),
    Why(re.compile("authentication failed"), "authentication failed",
        f"Compare {_URL} with pg_hba.conf of the server", refused=True),
    Why(re.compile("invalid connection option|invalid .* value"), "an option of the URL is wrong",
        f"Correct what stands behind the ? in {_URL}", refused=True),
    Why(re.compile("SSL|TLS|certificate"), "TLS fails", f"Compare sslmode in {_URL} with the server's settings",
        refused=True),
    Why(re.compile("too many (connections|clients)|connection slots"), "all its connections are in use",
        "Lower database.pool_size, or raise max_connections there"),
    Why(re.compile("starting up|shutting down|recovery"), "it is starting or stopping", "Wait until it is up"),
    Why(re.compile("fell silent"), "it took a statement and then fell silent",
        "Look at the server, and at what stands before it"),
)  # fmt: skip
"""What is said when there is no code, the most specific first."""

_STATES: Mapping[str, tuple[str, str]] = {
    "25006": ("it is read-only: a replica, or default_transaction_read_only", f"Name the primary in {_URL}"),
    "25P03": ("it ended the session for its silence", "Nothing: the next one is new. Was this process held?"),
    "25P04": ("it ended the session for a transaction's length", "Look at transaction_timeout there"),
    "53100": ("its disk is full", "Make room on the server's disk"),
    "53200": ("it is out of memory", "Look at the server's memory"),
    "53300": ("all its connections are in use", "Lower database.pool_size, or raise max_connections there"),
    "57P01": ("it ended the session", "Nothing, if it is being restarted"),
    "57P02": ("it crashed, and is recovering", "Look at the server's log"),
    "57P03": ("it is starting or stopping", "Wait until it is up"),
    "58030": ("it can't read or write a file", "Look at the server's log, and at its disk"),
}

DENIED = "42501"
"""insufficient_privilege"""


def unavailable(where: Place, error: BaseException | None) -> Unavailable:
    """What to say of a connection that failed or broke, of a server that can't work now, or of one that refuses us."""
    sqlstate = getattr(error, "sqlstate", None) or ""
    if sqlstate:
        reason, fix = _STATES.get(sqlstate, ("it can't do its work", "Look at the server's log"))
        return Unavailable("postgres", f"{where}: {reason} ({sqlstate})", fix)
    said = _last_words(str(error), where)
    why = next((each for each in _WHYS if each.pattern.search(said)), None)
    if why is None:
        lost = isinstance(error, psycopg.OperationalError)
        return Unavailable("postgres", f"{where}: {said if lost else type(error).__name__}", "Look at the server's log")
    make = AccessRefused if why.refused else Unavailable
    return make("postgres", f"{where}: {why.reason}", why.fix)


def busy(where: Place, connections: int, seconds: float) -> Unavailable:
    """No connection of the pool came free in time."""
    reason = f"all {connections} connections of this process's pool were in use for {seconds:g} s"
    return Unavailable("postgres", f"{where}: {reason}", "Raise database.pool_size, or look why transactions take long")


def denied(where: Place, error: BaseException | None) -> AccessRefused:
    """The role may not do what was asked of a table, a schema or a function."""
    words = set(re.findall(r"\w+", str(getattr(getattr(error, "diag", None), "message_primary", None) or error)))
    table = next((name for name in NEEDED if name in words), None)
    if "owner" in words:
        reason = f"the role doesn't own {table or 'the tables'}"
        fix = "Run `subkeeper db upgrade` and `setup` as the role that does"
    elif table is not None:
        reason, fix = f"the role may not use table {table}", f"As its owner: {granting_all(where.role, table)}"
    elif "temporary" in words:
        reason = "the role may not make temporary tables, which a backfill counts in"
        fix = f'GRANT TEMPORARY ON DATABASE "{where.database}" TO "{where.role}"'
    elif "schema" in words:
        reason = "the role may not use, or not create in, the schema"
        fix = f'To run: GRANT USAGE ON SCHEMA public TO "{where.role}"; to migrate: GRANT CREATE, too'
    else:
        reason, fix = "the role lacks a privilege", "docs/operations.md lists what it needs (Postgres, roles)"
    return AccessRefused("postgres", f"{where}: {reason} ({DENIED})", fix)


def _last_words(said: str, where: Place) -> str:
    """The first line that tells a reason, without where (which we say ourselves) and without the password."""
    line = next((line for line in said.splitlines() if line.strip()), "no reason was given")
    line = re.sub(r"^.*? failed: ", "", line, count=1) if "connection to server" in line else line
    line = line.removeprefix("connection failed: ").removeprefix("connection is bad: ").strip().rstrip(".")
    return line.replace(where.password, "***") if where.password else line

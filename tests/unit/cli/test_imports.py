"""A worker starts with what it needs, and no more."""

from __future__ import annotations

import subprocess
import sys

LOADED = "import sys, worker.cli.run; print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def test_a_worker_loads_neither_migrations_nor_the_sandbox() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"stripe", "psycopg", "nsq"} <= loaded
    assert loaded.isdisjoint({"alembic", "mako", "sandbox", "tests"})

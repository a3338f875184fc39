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


COLLECTING = """
import gc, sys, worker.__main__
sys.argv = ["subkeeper", "config", "--help"]
try:
    worker.__main__.main()
finally:
    print(gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


def test_garbage_is_collected_once_the_command_is_imported_and_what_was_imported_is_not_looked_at() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True"

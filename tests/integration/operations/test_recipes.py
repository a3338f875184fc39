"""The shell lines of docs/operations.md, run as they stand there, on a real Postgres."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import binaries
from tests.support.forked import fork_server
from tests.support.stack import TRIAL, Stack

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
CREATED = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)
"""Long ago enough to be told from now, and from now in another time zone."""


def recipes() -> dict[str, str]:
    """The page's lines for bash that pipe into a backfill, by their first comment."""
    blocks = re.findall(r"```bash\n(.*?)```", OPERATIONS.read_text(), re.DOTALL)
    return {block.splitlines()[0]: block for block in blocks if "| subkeeper backfill" in block.replace("\n ", "")}


NIGHTLY = next(name for name in recipes() if "nightly" in name)


@pytest.fixture
def shell(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """An environment in which `psql` is at the auth service's database, whose sessions are not in UTC by themselves."""
    stack.start_worker()
    parts = urlsplit(stack.database_url)
    programs = f"{binaries.postgres()}:{fork_server().on_path()[0]}:{os.environ['PATH']}"
    name = parts.path.removeprefix("/")
    stack.rows(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    return {
        **stack.environ, "PATH": programs, "PGHOST": str(parts.hostname), "PGPORT": str(parts.port),
        "PGUSER": "postgres", "PGDATABASE": name, "TZ": "America/New_York",
    }  # fmt: skip


def bash(recipe: str, environ: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", recipe], env=environ, cwd=folder, capture_output=True, text=True, timeout=100, check=False,
        pass_fds=[fork_server().on_path()[1]],
    )  # fmt: skip


@pytest.mark.parametrize("column", ["timestamptz", "timestamp"])
@pytest.mark.parametrize("name", recipes())
def test_a_recipe_brings_in_what_is_missing_with_its_time_whatever_the_column(
    stack: Stack, shell: dict[str, str], tmp_path: Path, name: str, column: str
) -> None:
    stack.rows(f"CREATE TABLE profiles (id text, email text, name text, created_at {column})")
    value = CREATED if column == "timestamptz" else CREATED.replace(tzinfo=None)
    stack.rows("INSERT INTO profiles VALUES ('ada', 'ada@example.org', 'Ada \\ \"L.\"', %s)", value)
    first = bash(recipes()[name], shell, tmp_path)
    assert first.returncode == 3, first
    assert "1 newly found" in first.stdout
    stack.await_completed("ada")
    assert stack.ledger("ada")["trial_end"] == CREATED + TRIAL
    assert stack.customers("ada")[0]["name"] == 'Ada \\ "L."'
    assert bash(recipes()[name], shell, tmp_path).returncode == 0


@pytest.mark.parametrize("name", recipes())
def test_an_export_that_fails_fails_the_recipe(shell: dict[str, str], tmp_path: Path, name: str) -> None:
    """There is no table `profiles`. Without pipefail the nightly one fails as well: the header is missing."""
    for recipe in (recipes()[name], recipes()[name].replace("set -o pipefail", "")):
        done = bash(recipe, shell, tmp_path)
        assert done.returncode == 1, done


def test_nights_without_a_profile_are_fine_for_the_nightly_recipe_alone(
    stack: Stack, shell: dict[str, str], tmp_path: Path
) -> None:
    stack.rows("CREATE TABLE profiles (id text, email text, name text, created_at timestamptz)")
    for name, recipe in recipes().items():
        assert bash(recipe, shell, tmp_path).returncode == (0 if name == NIGHTLY else 1)

"""What `make lint` must refuse, planted in a copy of the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("worker", "schema", "sandbox"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def refused(copy: Path) -> str:
    """What the import contract says of the copy, which it refuses."""
    lint = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([lint, "--no-cache"], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode, done.stdout
    return done.stdout


def test_a_package_that_no_layer_names_is_refused(copy: Path) -> None:
    (copy / "worker" / "planted").mkdir()
    (copy / "worker" / "planted" / "__init__.py").write_text('"""A room that nobody planned."""\n')
    assert "worker.planted" in refused(copy)


@pytest.mark.parametrize("forbidden", ["psycopg", "sqlalchemy", "stripe", "nsq", "sandbox"])
def test_a_package_that_imports_what_only_another_may_is_refused(copy: Path, forbidden: str) -> None:
    (copy / "worker" / "planted").mkdir()
    (copy / "worker" / "planted" / "__init__.py").write_text(f"import {forbidden}\n")
    assert f"worker.planted -> {forbidden}" in refused(copy)

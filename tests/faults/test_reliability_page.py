"""docs/reliability.md names tests that exist, and one for each failure mode."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not re.match(r"\| (failure|---)", line)]
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{Path(file).stem}-{test}" for file, test in NAMED])
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    functions = {
        node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)
    }
    assert test in functions


def test_every_failure_has_its_proof() -> None:
    assert ROWS
    assert [row for row in ROWS if "::test_" not in row] == []

"""docs/reliability.md names tests that exist, and one for each failure mode."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = (ROOT / "docs" / "reliability.md").read_text().split("\n## ")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
CASE = re.compile(r"`\[…-([^]]+)\]`")
"""A case of the test that the section's text names: how its id ends."""

FILE = re.compile(r"`(tests/[\w/]+\.py)`")
"""A whole file of tests."""

NAMED = sorted({found for section in SECTIONS for found in TEST.findall(section)})
CASES = sorted(
    {
        (TEST.findall(section)[0][0], case)
        for section in SECTIONS
        if TEST.search(section)
        for case in CASE.findall(section)
    }
)


@cache
def functions(file: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[f"{Path(file).stem}-{test}" for file, test in NAMED])
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert test in functions(file)


@pytest.mark.parametrize(("file", "case"), CASES, ids=[case for _, case in CASES])
def test_a_case_that_the_page_names_exists(file: str, case: str) -> None:
    assert f'"{case}"' in (ROOT / file).read_text()


@pytest.mark.parametrize("file", sorted({file for section in SECTIONS for file in FILE.findall(section)}))
def test_a_file_that_the_page_names_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_every_failure_has_its_proof() -> None:
    rows = [line for section in SECTIONS for line in section.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not re.match(r"\| (failure|---)", row)]
    assert rows
    assert [row for row in rows if not any(proof.search(row) for proof in (TEST, CASE, FILE))] == []

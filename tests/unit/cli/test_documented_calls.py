"""Every call of the command in a document is one: its words and options exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tests.unit.cli.subcommands import subcommands
from worker.cli import main

ROOT = Path(__file__).parents[3]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{each.name}" for each in sorted((ROOT / "docs").glob("*.md")))]

CODE = re.compile(r"```\w*\n(.*?)```|`([^`]+)`", re.DOTALL)
"""Blocks and spans of code."""

CALL = re.compile(r"(?:^|[\s|(])subkeeper ((?:--?)?[a-z].*)$")
"""A call of the command in a line of code."""


def calls(document: str) -> list[str]:
    text = (ROOT / document).read_text().replace("\\\n", " ")
    lines = [
        line
        for block, span in CODE.findall(text)
        for line in (block.splitlines() if block else [span.replace("\n", " ")])
    ]
    return [found[1] for line in lines if (found := CALL.search(line.partition(" #")[0]))]


def unknown_words(call: str) -> list[str]:
    """Subcommands and options of a documented call that aren't there. `a|b`: both are meant."""
    here: list[click.Command] = [main]
    wrong = []
    words = re.sub(r"[\[\]…,;]", " ", call).split()
    for number, word in enumerate(words):
        if word in {"|", "<", ">", "&&"} and not (number + 1 < len(words) and words[number + 1].startswith("--")):
            break
        if word.startswith("--"):
            name = word.partition("=")[0]
            if not any(name in option.opts for each in [main, *here] for option in each.params):
                wrong.append(word)
        elif all(isinstance(each, click.Group) for each in here) and re.fullmatch(r"[a-z|]+", word):
            groups = [subcommands(each) for each in here if isinstance(each, click.Group)]
            found = [each[name] for each in groups for name in word.split("|") if name in each]
            if len(found) < len(word.split("|")) and words[number - 1] != "--config":
                wrong.append(word)
            here = found or here
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_call_in_a_document_is_one(document: str) -> None:
    assert {call: wrong for call in calls(document) if (wrong := unknown_words(call))} == {}


def test_a_call_that_is_none_would_be_seen() -> None:
    assert len(calls("docs/operations.md")) > 20
    assert unknown_words("quarantine list --kind message") == []
    assert unknown_words("quarantine lst") == ["lst"]
    assert unknown_words("quarantine list --kinds message") == ["--kinds"]
    assert unknown_words("db upgrade|chek") == ["upgrade|chek"]

"""Every command is in the documents, says how it ends, and names things as the metrics do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.unit.cli.subcommands import subcommands
from worker.cli import main
from worker.cli.common import BAD_SETTINGS, FAILED, FOUND_NEW, INTERRUPTED
from worker.store.quarantine_list import Kind
from worker.telemetry import Metrics

ROOT = Path(__file__).parents[3]


def commands(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is no group, with its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, inner in subcommands(command).items():
        yield from commands(inner, (*path, name))


LEAVES = dict(commands())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    said = " ".join((ROOT / document).read_text() for document in ("README.md", "docs/operations.md"))
    *group, name = path
    alone = re.escape(" ".join(path))
    together = rf"{re.escape(' '.join(group))} (\w+\|)*{name}\b" if group else alone
    assert re.search(rf"subkeeper (--config \S+ )?({alone}\b|{together})", said)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_says_its_exit_codes(path: tuple[str, ...]) -> None:
    said = " ".join(CliRunner().invoke(main, [*path, "--help"]).output.split())
    found = re.search(r"Exit codes: (0 .*?)\.(?: |$)", said)
    assert found, said
    codes = {int(each.split()[0]) for each in found[1].split("; ")}
    assert {0, BAD_SETTINGS} <= codes <= {0, FAILED, BAD_SETTINGS, FOUND_NEW, INTERRUPTED}


def test_what_is_in_quarantine_has_the_same_kinds_for_people_and_for_prometheus() -> None:
    metrics = Metrics("1")
    metrics.in_quarantine(1, 2)
    exported = set(re.findall(r'in_quarantine{kind="(\w+)"}', metrics.render().decode()))
    options = {option.name: option for option in LEAVES[("quarantine", "list")].params}
    assert isinstance(options["kind"].type, click.Choice)
    assert exported == {kind.value for kind in Kind} == set(options["kind"].type.choices)


def test_no_list_of_commands_breaks_off_in_a_sentence() -> None:
    groups = [(), *{path[:-1] for path in LEAVES if len(path) > 1}]
    lists = [CliRunner().invoke(main, [*group, "--help"], terminal_width=80).output for group in groups]
    assert [line for told in lists for line in told.splitlines() if line.endswith("...") and "Usage" not in line] == []

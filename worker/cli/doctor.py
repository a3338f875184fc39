"""`subkeeper doctor`."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator

import click

from worker.cli.common import FAILED, loaded_for_people, seeded
from worker.cli.output import json_line, shown
from worker.errors import Misconfigured
from worker.runtime.doctor.examining import examine
from worker.runtime.doctor.findings import Finding, Findings, ok, refused, skipped
from worker.settings.loading import InvalidSettings

COLUMNS = ("verdict", "check", "detail", "fix")
INDENT = 9
"""Columns before what is said: the width of the longest verdict, and two."""


@click.command()
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line.")
@click.pass_context
def doctor(context: click.Context, json_wanted: bool) -> None:
    """Connect to everything as `run` would, and say of each part whether it is well, and what to do where it is not.

    Nothing is written anywhere, and nothing personal or secret is told. It can run beside a worker. A warning is of
    something that a worker runs with; a problem of something that it would not run with, or would lose something by.

    Exit codes: 0 no problem (there may be warnings); 1 a problem; 2 the command line must be changed.
    """
    is_well = True
    tell = json_line if json_wanted else _tell
    if not json_wanted and not sys.stdout.isatty():
        click.echo("\t".join(COLUMNS))
    for finding in _findings(context):
        tell(_row(finding))
        is_well = is_well and finding.verdict != "problem"
    sys.exit(0 if is_well else FAILED)


def _findings(context: click.Context) -> Findings:
    """Of settings that can't be used, each problem, and nothing else: nobody knows then whom to ask."""
    try:
        settings = loaded_for_people(context)
    except Misconfigured as wrong:
        for each in wrong.problems if isinstance(wrong, InvalidSettings) else [wrong]:
            yield refused("settings", each, "")
        yield skipped("all others", "the settings come first")
        return
    source = context.find_root().obj or os.environ.get("SUBKEEPER_CONFIG")
    yield ok("settings", f"from {source} and the environment" if source else "from the environment alone")
    yield from examine(settings, seeded())


def _row(finding: Finding) -> dict[str, object]:
    verdict, fix = finding.verdict.value, finding.fix or None
    return {"verdict": verdict, "check": finding.check, "detail": finding.detail, "fix": fix}


def _tell(row: dict[str, object]) -> None:
    if not sys.stdout.isatty():
        click.echo("\t".join(shown(row[column]) for column in COLUMNS))
        return
    for line in _wrapped(row, shutil.get_terminal_size().columns):
        click.echo(line)


def _wrapped(row: dict[str, object], width: int) -> Iterator[str]:
    """A finding within so many columns: broken between words, since what is broken inside can't be copied."""
    verdict, detail = str(row["verdict"]), shown(row["detail"])
    head = f"{verdict:<{INDENT}}{row['check']}"
    colour = {"ok": "green", "warning": "yellow", "problem": "red"}.get(verdict)
    fits = len(head) + 2 + len(detail) <= width
    yield click.style(verdict, fg=colour) + head[len(verdict) :] + (f"  {detail}" if fits else "")
    for text in ([] if fits else [detail]) + ([f"→ {shown(row['fix'])}"] if row["fix"] else []):
        yield from textwrap.wrap(
            text, width, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT, break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip

"""`subkeeper verify`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from worker.cli.common import FAILED, explained, loaded_for_people, seeded
from worker.cli.interrupts import Interrupts
from worker.cli.verify_view import Report, how_to_go_on, watching
from worker.errors import SubkeeperError
from worker.events.walk import Walk
from worker.runtime.verifying import verify as verify_all

PROGRESS = "subkeeper-verify.progress"


@click.command()
@click.option("--repair", is_flag=True, help="Have what differs fetched from Stripe again, as an event would.")
@click.option("--user", "users", metavar="USER", multiple=True, help="Only this user; may be repeated.")
@click.option("--resume", is_flag=True, help="Go on where a walk was interrupted. Without it, one begins anew.")
@click.option(
    "--progress",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Where it keeps how far it got, until its end. [default: {PROGRESS} here, or in TMPDIR]",
)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line; the last is the summary.")
@click.pass_context
def verify(
    context: click.Context, users: tuple[str, ...], *, repair: bool, resume: bool, progress: Path | None,
    json_wanted: bool,
) -> None:  # fmt: skip
    """Does every row say what Stripe says?

    Walks through all subscriptions at Stripe and all rows, and tells each difference, field by field, charges too. What
    is on its way is looked at again before it is told. Nothing is written without --repair; with it, a difference is
    written as any fetch's answer is, or left to the workers: nothing goes back in time, and no deleted customer is
    revived. What no fetch can mend is for a person.

    After Ctrl-C, a kill, or an outage the same command with --resume goes on: what was told is not told again, and
    counts.

    Exit codes: 0 no difference, or all were mended; 1 failed, or there are differences; 2 the settings or the command
    line must be changed; 130 interrupted.
    """
    if users and (resume or progress):
        raise click.UsageError("A walk through single users is short: it keeps no progress.")
    report, interrupts = Report(json_wanted=json_wanted, repair=repair), Interrupts()
    with explained():
        settings = loaded_for_people(context)
        with (
            _walk(None if users else progress or _default(), resumed=resume) as walk,
            watching() as view,
            closing(verify_all(settings, users, walk, view, seeded(), repair=repair, say_cost=view.costs)) as found,
        ):
            for each in found:
                with interrupts.held():
                    view.tell(lambda each=each: report.tell(each))  # type: ignore[misc]  # its type follows from that
                    walk.told(each)
        report.end(walk)
    if walk.walked.left:
        sys.exit(FAILED)


def _default() -> Path:
    """Here, or where this folder can't be written among temporary files."""
    return Path(PROGRESS) if os.access(Path.cwd(), os.W_OK) else Path(tempfile.gettempdir(), PROGRESS)


@contextmanager
def _walk(path: Path | None, *, resumed: bool) -> Iterator[Walk]:
    """Says how to go on where it is broken off."""
    with Walk(path, resumed=resumed) as walk:
        try:
            yield walk
        except (KeyboardInterrupt, SubkeeperError):
            if walk.is_under_way:
                click.echo(how_to_go_on(walk), err=True)
            raise

"""How a backfill looks while it runs, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from worker.backfill.progress import Progress
from worker.backfill.records import Record
from worker.cli.output import counted
from worker.errors import Rejected
from worker.store.provisioning.census import Census

SHOWN_REFUSALS = 20
"""Bad lines that are told one by one where a file keeps all of them; where none does, each is told."""

SAY_EVERY = 5.0
"""Seconds between two lines about the progress where there is no terminal."""


class View:
    """Tells on stderr: bad lines always, the progress by a line now and then."""

    def __init__(self, *, has_rejects: bool, dry_run: bool) -> None:
        self._has_rejects = has_rejects
        self._dry_run = dry_run
        self._refusals = 0
        self._said = time.monotonic()

    def refused(self, record: Record, refusal: Rejected) -> None:
        self._refusals += 1
        if not self._has_rejects or self._refusals <= SHOWN_REFUSALS:
            self.say(f"line {record.number}: {refusal}")
        elif self._refusals == SHOWN_REFUSALS + 1:
            self.say("(further bad lines are in the reject file)")

    def skipped(self, size: int) -> None:
        """Read again, not published again."""

    def advanced(self, progress: Progress, size: int) -> None:  # noqa: ARG002 - a bar's business
        done = "valid, nothing published (dry run)" if self._dry_run else "published"
        self._now_and_then(f"up to line {progress.line}: {progress.published} {done}")

    def finished(self) -> None:
        """All of the input was read, and published."""

    def paused(self, depth: int) -> None:
        self._now_and_then(f"pausing: {depth} messages wait in the backfill's channel")

    def draining(self, left: int) -> None:
        self._now_and_then(f"waiting: {left} messages are not absorbed yet")

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            self.say(text)


class BarView(View):
    """The same with a progress bar."""

    def __init__(self, bar: Bar, task: TaskID, *, has_rejects: bool, dry_run: bool) -> None:
        super().__init__(has_rejects=has_rejects, dry_run=dry_run)
        self._bar = bar
        self._task = task

    def skipped(self, size: int) -> None:
        self._bar.update(self._task, description="skipping", advance=size)

    def advanced(self, progress: Progress, size: int) -> None:
        doing = "dry run" if self._dry_run else "publishing"
        self._bar.update(self._task, description=doing, advance=size, records=progress.records)

    def finished(self) -> None:
        """The bar counts records; what stood between them (empty lines, a header) was read as well."""
        task = self._bar.tasks[self._task]
        if task.total is not None:
            self._bar.update(self._task, completed=task.total)

    def paused(self, depth: int) -> None:
        self._bar.update(self._task, description=f"paused, {depth} wait")

    def draining(self, left: int) -> None:
        self._bar.update(self._task, description=f"{left} to absorb")

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def watching(size: int | None, *, has_rejects: bool, dry_run: bool) -> Iterator[View]:
    """A view for the while; `size`: bytes of the input, where they are known."""

    class Rate(ProgressColumn):
        """Records a second since the start."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.fields['records'] / task.elapsed:,.0f}/s" if task.elapsed else "")

    console = Console(stderr=True)
    if not console.is_terminal:
        yield View(has_rejects=has_rejects, dry_run=dry_run)
        return
    columns = (
        TextColumn("{task.description:12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[records]:,} records"), Rate(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*(columns if size else (columns[0], *columns[3:5])), console=console) as bar:
        task = bar.add_task("reading", total=size, records=0)
        yield BarView(bar, task, has_rejects=has_rejects, dry_run=dry_run)


def failure(progress: Progress, census: Census, *, wait: bool, allow_empty: bool) -> str | None:
    """Why the run failed although it came to its end; None where it did not."""
    if not progress.records and not allow_empty:
        return "the input is empty: did the command before it fail? Give --allow-empty where that is to be expected"
    if progress.records and progress.rejected.total() == progress.records:
        return "every record was rejected: compare the input with [message] in the settings, or with the help's recipe"
    if wait and census.absent:
        users = counted(census.absent, "user")
        return (
            f"the workers took every message, and {users} of them did not get into the ledger: look at the quarantine"
        )
    return None


def summary(progress: Progress, census: Census, rejects: Path | None, *, dry_run: bool) -> dict[str, object]:
    """What it came to, as one object."""
    return {
        "dry_run": dry_run,
        "records": progress.records,
        "valid" if dry_run else "published": progress.published,
        "rejected": dict(progress.rejected.most_common()),
        "users": census.users,
        "new" if dry_run else "not_absorbed_yet": census.absent,
        **({} if dry_run else {"newly_found": census.newly_found}),
        "known": census.known,
        "in_quarantine": census.quarantined,
        "reject_file": str(rejects) if rejects is not None and progress.rejected else None,
    }


def in_words(progress: Progress, census: Census, *, dry_run: bool) -> Iterator[str]:
    """The same for people, a sentence a line."""
    rejected = progress.rejected.total()
    done = "valid" if dry_run else f"published on {progress.topic}"
    if dry_run:
        yield "Dry run: nothing was published."
    yield f"{counted(progress.records, 'record')}: {progress.published} {done}, {rejected} rejected"
    for reason, count in progress.rejected.most_common():
        yield f"  {count} {reason}"
    if dry_run:
        yield f"{counted(census.users, 'user')}: {census.absent} new to the ledger, {census.known} known"
    else:
        absent = f", {census.absent} not absorbed yet" if census.absent else ""
        yield f"{counted(census.users, 'user')}: {census.newly_found} newly found{absent}, {census.known} known before"
    if census.quarantined:
        yield f"  {census.quarantined} of them in quarantine"
    if census.users and census.absent == census.newly_found == 0:
        changed = "" if dry_run or census.quarantined else " This run changed nothing."
        yield f"Nothing new: the ledger knew every user.{changed}"

"""How `subkeeper verify` looks while it runs, and what it found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from worker.cli.output import counted, json_line, shown
from worker.domain.drift import Finding, Repair
from worker.events.walk import Walk
from worker.runtime.verifying import Cost

SAY_EVERY = 5.0
"""Seconds between two lines about the progress where there is no terminal."""

COLUMNS = ("kind", "user", "subscription", "customer", "field", "here", "at Stripe", "repair", "detail")


class View:
    """Tells the progress on stderr: by a line now and then."""

    def __init__(self) -> None:
        self._done = 0
        self._said = time.monotonic()

    def costs(self, cost: Cost) -> None:
        reads = counted(cost.reads, "time")
        before = f"{counted(cost.compared, 'subscription')} compared before. " if cost.compared else ""
        asked = f"Stripe is asked about {reads}, and once for each that is in doubt."
        click.echo(before + asked, err=True)
        self._done = cost.compared

    def advanced(self, subscriptions: int) -> None:
        self._done += subscriptions
        if time.monotonic() - self._said >= SAY_EVERY:
            self._said = time.monotonic()
            click.echo(f"{counted(self._done, 'subscription')} compared", err=True)

    def tell(self, write: Callable[[], None]) -> None:
        """Lets something be written on stdout."""
        write()


class BarView(View):
    """The same with a progress bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        super().__init__()
        self._bar = bar
        self._task = task

    def costs(self, cost: Cost) -> None:
        super().costs(cost)
        self._bar.update(self._task, total=cost.rows, completed=cost.compared)
        self._bar.start()

    def advanced(self, subscriptions: int) -> None:
        self._bar.update(self._task, advance=subscriptions)

    def tell(self, write: Callable[[], None]) -> None:
        """Between two pictures of the bar, which is drawn anew below."""
        self._bar.stop()
        write()
        self._bar.start()


@contextmanager
def watching() -> Iterator[View]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield View()
        return
    columns = (TextColumn("comparing"), BarColumn(), TextColumn("{task.completed:,}"), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    try:
        yield BarView(bar, bar.add_task("", total=None))
    finally:
        bar.stop()


class Report:
    """Writes each finding as it comes, and the sum."""

    def __init__(self, *, json_wanted: bool, repair: bool) -> None:
        self._json = json_wanted
        self._repair = repair
        self._has_header = False

    def tell(self, finding: Finding) -> None:
        if self._json:
            json_line(finding.as_object())
        elif sys.stdout.isatty():
            for line in in_words(finding):
                click.echo(line)
        else:
            self._tab_separated(finding)

    def end(self, walk: Walk) -> None:
        walked = walk.walked
        mended, marked = walked.repairs[Repair.DONE], walked.repairs[Repair.MARKED]
        if self._json:
            summary = {"subscriptions": walked.subscriptions, "differences": walked.differences}
            summary |= {"told_before": walk.told_before, "in_flight": walked.in_flight, "mended": mended}
            json_line({"kind": "summary", "kinds": dict(sorted(walked.kinds.items())), **summary, "marked": marked})
            return
        told = [f"{counted(walked.subscriptions, 'subscription')} compared, {_differences(walk)}"]
        if self._repair and walked.differences:
            told.append(f"{mended} mended, {marked} left to the workers, {walked.left - marked} for a person")
        elif walked.mendable:
            told.append(f"--repair would mend {walked.mendable}")
        if walked.in_flight:
            told.append(f"{walked.in_flight} more came right by themselves")
        click.echo("; ".join(told), err=not sys.stdout.isatty())

    def _tab_separated(self, finding: Finding) -> None:
        """A line for each field, under a header before the first."""
        if not self._has_header:
            click.echo("\t".join(COLUMNS))
            self._has_header = True
        head = (finding.kind, finding.user_id, finding.stripe_subscription_id, finding.stripe_customer_id)
        tail = (finding.repair, finding.detail)
        for each in finding.differences or [(None, None, None)]:
            click.echo("\t".join(shown(value) for value in (*head, *each, *tail)))


_REPAIRED = {None: "", Repair.DONE: "  mended", Repair.MARKED: "  left to the workers"}


def how_to_go_on(walk: Walk) -> str:
    """What is said of a walk that is broken off."""
    compared = counted(walk.walked.subscriptions, "subscription")
    return f"{compared} compared, {_differences(walk)}. To go on: the same command with --resume."


def _differences(walk: Walk) -> str:
    before = f" ({walk.told_before} told before)" if walk.told_before else ""
    return counted(walk.walked.differences, "difference") + before


def in_words(finding: Finding) -> Iterator[str]:
    """The same for people."""
    what = finding.stripe_subscription_id or finding.stripe_customer_id
    head = f"{click.style(finding.kind.replace('_', ' '), bold=True)}  {shown(what)}  user {shown(finding.user_id)}"
    yield head + _REPAIRED[finding.repair]
    if finding.detail is not None:
        yield f"    {shown(finding.detail)}"
    for name, ours, theirs in finding.differences:
        yield f"    {name}: {shown(ours)} here, {shown(theirs)} at Stripe"

"""How `subkeeper verify` looks while it runs, and what it found."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from worker.cli.output import counted, json_line, shown
from worker.domain.drift import Finding, Repair
from worker.events.verifying import Walked
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
        click.echo(
            f"Stripe is asked about {reads} (a page for 100 subscriptions), and once for each in doubt.", err=True
        )

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
        self._bar.update(self._task, total=cost.rows)
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
    """Writes each finding as it comes, and the sum. `left`: how many were not mended."""

    def __init__(self, *, json_wanted: bool, repair: bool) -> None:
        self._json = json_wanted
        self._repair = repair
        self._kinds: Counter[str] = Counter()
        self._repairs: Counter[str] = Counter()
        self.left = 0

    def tell(self, finding: Finding) -> None:
        self._kinds[finding.kind] += 1
        if finding.repair is not None:
            self._repairs[finding.repair] += 1
        self.left += finding.repair is not Repair.DONE
        if self._json:
            json_line(as_object(finding))
        elif sys.stdout.isatty():
            for line in in_words(finding):
                click.echo(line)
        else:
            self._tab_separated(finding)

    def end(self, walked: Walked) -> None:
        found, mended = self._kinds.total(), self._repairs[Repair.DONE]
        if self._json:
            kinds = dict(sorted(self._kinds.items()))
            summary = {"subscriptions": walked.subscriptions, "differences": found, "kinds": kinds}
            summary |= {"in_flight": walked.in_flight, "mended": mended, "marked": self._repairs[Repair.MARKED]}
            json_line({"kind": "summary", **summary})
            return
        told = [f"{counted(walked.subscriptions, 'subscription')} compared, {counted(found, 'difference')}"]
        if self._repair and found:
            told.append(f"{mended} mended, {self._repairs[Repair.MARKED]} left to the workers")
        if walked.in_flight:
            told.append(f"{walked.in_flight} more came right by themselves")
        click.echo("; ".join(told), err=not sys.stdout.isatty())

    def _tab_separated(self, finding: Finding) -> None:
        """A line for each field, under a header before the first."""
        if self._kinds.total() == 1:
            click.echo("\t".join(COLUMNS))
        head = (finding.kind, finding.user_id, finding.stripe_subscription_id, finding.stripe_customer_id)
        tail = (finding.repair, finding.detail)
        for each in finding.differences or [(None, None, None)]:
            click.echo("\t".join(shown(value) for value in (*head, *each, *tail)))


_REPAIRED = {None: "", Repair.DONE: "  mended", Repair.MARKED: "  left to the workers"}


def as_object(finding: Finding) -> dict[str, object]:
    return {
        "kind": finding.kind,
        "user_id": finding.user_id,
        "stripe_subscription_id": finding.stripe_subscription_id,
        "stripe_customer_id": finding.stripe_customer_id,
        "differences": {name: {"ours": ours, "stripe": theirs} for name, ours, theirs in finding.differences},
        "detail": finding.detail,
        "repair": finding.repair,
    }


def in_words(finding: Finding) -> Iterator[str]:
    """The same for people."""
    what = finding.stripe_subscription_id or finding.stripe_customer_id
    head = f"{click.style(finding.kind.replace('_', ' '), bold=True)}  {shown(what)}  user {shown(finding.user_id)}"
    yield head + _REPAIRED[finding.repair]
    if finding.detail is not None:
        yield f"    {shown(finding.detail)}"
    for name, ours, theirs in finding.differences:
        yield f"    {name}: {shown(ours)} here, {shown(theirs)} at Stripe"

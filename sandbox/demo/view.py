"""How the demo looks: bars while people sign up, a row for each day that passes, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.demo.verdict import Events, Verdict, shown
from worker.store.overview import Account

STATUSES = ("trialing", "active", "past_due", "paused", "canceled")
"""Stripe's states, as columns."""

ALWAYS = ("user", "customer, subscription")
"""Columns of the sample that are shown however narrow the terminal is."""


@contextmanager
def signing_up(console: Console, profiles: int) -> Iterator[Callable[[int, int], None]]:
    """Bars; yields what moves them to (published, persisted)."""
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=profiles)
        persisted = progress.add_task("persisted", total=profiles)

        def move(sent: int, settled: int) -> None:
            progress.update(published, completed=sent)
            progress.update(persisted, completed=settled)

        yield move


class Days:
    """A row for each day that one looked at; the last one moves as long as things change. Without a terminal a row is a
    line, once it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: list[tuple[str, ...]] = []
        self._foot = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, auto_refresh=False)
            self._live.start()
        else:
            self._console.print(_line(("day", *map(_in_words, STATUSES), "")), highlight=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._foot:
            self._console.print(self._foot, highlight=False)

    def begin(self) -> None:
        """Another day's row follows."""
        self._rows.append(())

    def show(self, day: int, counts: Mapping[str, int], title: str, foot: str, *, done: bool) -> None:
        """How the rows stand on that day."""
        self._foot = foot
        self._rows[-1] = (str(day), *(str(counts.get(status, 0)) for status in STATUSES), title)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif done:
            self._console.print(_line(self._rows[-1]), highlight=False)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), caption=self._foot, caption_justify="left")
        table.add_column("day", justify="right")
        for status in STATUSES:
            table.add_column(_in_words(status), justify="right", min_width=8)
        table.add_column("", no_wrap=True, overflow="ellipsis")
        for row in self._rows:
            table.add_row(*row)
        return table


def _in_words(status: str) -> str:
    return status.replace("_", " ")


def _line(row: Sequence[str]) -> str:
    day, *counts, title = row
    return " ".join([f"{day:>3}", *(f"{count:>8}" for count in counts), title]).rstrip()


def verdict_table(verdict: Verdict) -> Table:
    """The count, for people."""
    table = Table(title="What came of it", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("")
    total, overhead, heard = verdict.publish_to_persisted_ms, verdict.overhead_ms, verdict.events
    told: Sequence[tuple[str, int, str]] = (
        ("profiles", verdict.profiles, f"published → persisted: p50 {total.p50} ms, p99 {total.p99} ms"),
        ("customers", verdict.customers, f"without Stripe's part: p50 {overhead.p50} ms, p99 {overhead.p99} ms"),
        ("subscriptions", verdict.subscriptions, ""),
        ("duplicates", verdict.duplicates, "second ones of anybody's, at Stripe or here"),
        ("missing", verdict.missing, "people without what they should have"),
        ("events", heard.received, _told(heard)),
        ("changes", verdict.changes, "told to other services"),
        ("drift", verdict.drift, "rows that say anything else than Stripe"),
    )
    for name, count, more in told:
        table.add_row(name, str(count), more)
    return table


def _told(events: Events) -> str:
    parts = {
        "repeated": events.duplicates,
        "applied": events.applied,
        "fetched": events.refreshed,
        "stale": events.stale,
    }
    parts["as known"] = events.received - sum(parts.values())
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count)


def sample(accounts: Sequence[Account], width: int) -> Table:
    """A few rows as our tables hold them, in `width` columns: ids are never broken, what has no room is left out."""
    found: dict[str, list[str]] = {
        "user": [each.user_id for each in accounts],
        "customer, subscription": [
            f"{each.stripe_customer_id or '-'}\n{each.stripe_subscription_id or '-'}" for each in accounts
        ],
        "status": [each.status or each.state for each in accounts],
        "trial ends (UTC)": [shown(each.trial_end) for each in accounts],
        "plan": [each.plan or "-" for each in accounts],
    }
    table = Table(title="Some of the accounts", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    left = width
    for column, texts in found.items():
        needed = max(len(line) for text in (column, *texts) for line in text.splitlines())
        if needed <= left or column in ALWAYS:
            table.add_column(column, no_wrap=True, overflow="ignore", min_width=needed)
            left -= needed + 2
        else:
            del texts[:]
    for row in zip(*(texts for texts in found.values() if texts), strict=True):
        table.add_row(*row)
    return table

"""Runs the demo from start to verdict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.demo.traffic import Traffic
from sandbox.demo.verdict import Expected, Verdict, judge, shown
from sandbox.demo.worker import WorkerProcess
from sandbox.sandbox import Sandbox
from sandbox.stripe.control import Control
from worker.broker.publisher import Publisher
from worker.settings.model import Settings
from worker.store import overview
from worker.store.engine.database import Database
from worker.store.overview import Account

STRIPE_LATENCY = {"dist": "lognormal", "median": 120.0, "sigma": 0.3}
"""Milliseconds: about what Stripe takes for a create."""

CHAOS_RATES = {
    "rate_limited": 0.05,
    "lock_timeout": 0.01,
    "unavailable": 0.05,
    "error_before": 0.03,
    "error_after": 0.03,
    "drop_before": 0.03,
    "drop_after": 0.05,
    "partial": 0.03,
    "slow_body": 0.05,
}
CHAOS_WORKERS = 3
PATIENCE = 120.0
"""Seconds without any progress after which the demo gives up and counts what is there."""

KILL_EVERY = (1.0, 3.0)
"""Seconds between two kills of a worker, drawn evenly."""

POLL = 0.1
SAMPLE = 5
ALWAYS = ("user", "customer, subscription")
"""Columns of the sample that are shown however narrow the terminal is."""


@dataclass(frozen=True, slots=True)
class Plot:
    """How many profiles, at how many a second, on how bad a day; `seed` repeats its draws."""

    profiles: int
    pace: float
    chaos: bool
    seed: int


def show(plot: Plot, prepare: Callable[[Path], None], console: Console) -> tuple[Verdict, Sequence[Account]]:
    """Plays it, with its progress on `console`. Returns the verdict and a sample of accounts."""
    with Sandbox(prepare) as sandbox:
        settings = Settings.load(Path(sandbox.addresses.config), {})
        control = Control(sandbox.addresses.stripe_api_base)
        control.latency(**STRIPE_LATENCY)
        if plot.chaos:
            control.chaos(plot.seed, CHAOS_RATES, STRIPE_LATENCY)
        database = Database(settings.database, application_name="subkeeper demo")
        try:
            return _play(plot, sandbox, settings, control, database, console)
        finally:
            database.close()


def _play(
    plot: Plot, sandbox: Sandbox, settings: Settings, control: Control, database: Database, console: Console
) -> tuple[Verdict, Sequence[Account]]:
    traffic = Traffic(plot.profiles, plot.pace, chaos=plot.chaos, rng=_drawn(plot, "traffic"))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(sandbox.workspace, Path(sandbox.addresses.config)))
            for _ in range(CHAOS_WORKERS if plot.chaos else 1)
        ]
        started = time.monotonic()
        publishing = stack.enter_context(ThreadPoolExecutor(1)).submit(_publish, traffic, settings)
        _watch(
            plot,
            traffic,
            publishing,
            database,
            console,
            Killer(workers, _drawn(plot, "killer")) if plot.chaos else None,
        )
        seconds = time.monotonic() - started
    with database.transaction() as tx:
        accounts = overview.accounts(tx)
    plan = settings.plans[settings.pending_plan]
    expected = Expected(plan.lookup_key, timedelta(days=settings.trial.days))
    state, requests = control.state(), control.requests()
    verdict = judge(traffic.sent, accounts, state, requests, expected, seconds=seconds, seed=plot.seed)
    return verdict, accounts[:SAMPLE]


def _drawn(plot: Plot, what: str) -> random.Random:
    """Chance of its own for each thread, so that the seed repeats it."""
    return random.Random(f"{plot.seed} {what}")  # noqa: S311 - a seed that repeats it is wanted


def _publish(traffic: Traffic, settings: Settings) -> None:
    publisher = Publisher(settings.nsq, rng=random.Random())  # noqa: S311 - jitter of reconnects
    try:
        traffic.publish(lambda body: publisher.publish(settings.nsq.profile_topic, [body]), time.sleep)
    finally:
        publisher.close()


def _watch(
    plot: Plot,
    traffic: Traffic,
    publishing: Future[None],
    database: Database,
    console: Console,
    killer: Killer | None,
) -> None:
    """Shows progress until every profile is settled, or nothing has moved for `PATIENCE`."""
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=plot.profiles)
        persisted = progress.add_task("persisted", total=plot.profiles)
        before, moved = 0, time.monotonic()
        while before < plot.profiles and time.monotonic() - moved < PATIENCE:
            time.sleep(POLL)
            if publishing.done():
                publishing.result()  # raises what publishing raised
            elif killer is not None:
                killer.act(time.monotonic())
            with database.transaction() as tx:
                now = overview.finished(tx)
            if now > before:
                before, moved = now, time.monotonic()
            progress.update(published, completed=len(traffic.sent))
            progress.update(persisted, completed=now)
        publishing.result()


class Killer:
    """SIGKILLs one of `workers` every now and then, and starts it again, as a supervisor would."""

    def __init__(self, workers: Sequence[WorkerProcess], rng: random.Random) -> None:
        self._workers = workers
        self._rng = rng
        self._next = time.monotonic() + rng.uniform(*KILL_EVERY)

    def act(self, now: float) -> None:
        if now < self._next:
            return
        worker = self._rng.choice(self._workers)
        worker.kill()
        worker.start()
        self._next = now + self._rng.uniform(*KILL_EVERY)


def verdict_table(verdict: Verdict) -> Table:
    """The count, for people."""
    table = Table(title="What came of it", title_justify="left", box=None)
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("publish → persisted", justify="right")
    table.add_column("less Stripe's time", justify="right")
    total, overhead = verdict.publish_to_persisted_ms, verdict.overhead_ms
    table.add_row("profiles", str(verdict.profiles), f"p50 {total.p50} ms", f"p50 {overhead.p50} ms")
    table.add_row("customers", str(verdict.customers), f"p99 {total.p99} ms", f"p99 {overhead.p99} ms")
    for name in ("subscriptions", "duplicates", "missing"):
        table.add_row(name, str(getattr(verdict, name)), "", "")
    return table


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

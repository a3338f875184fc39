"""Runs the demo from start to verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from sandbox.demo.crew import at_work, killing
from sandbox.demo.doors import Door
from sandbox.demo.stage import Plot, Stage
from sandbox.demo.verdict import Verdict
from sandbox.demo.view import Days
from sandbox.sandbox import Sandbox
from worker.store.overview import Account

Tell: TypeAlias = Callable[[Verdict, Sequence[Account]], None]
"""Takes the verdict and a sample of accounts."""

Linger: TypeAlias = Callable[[Sandbox, Sequence[Door]], None]
"""Stays in the sandbox, with all at work, as long as it likes."""


def show(
    plot: Plot, prepare: Callable[[Path], None], console: Console, tell: Tell, linger: Linger | None = None
) -> Verdict:
    """Plays it, with its progress on `console`, and tells what came of it before everything is gone."""
    console.print("Starting nsqd, Postgres and a Stripe with state.", highlight=False)
    with (
        Sandbox(prepare, unlimited_test_clocks=True) as sandbox,
        Stage(plot, sandbox) as stage,
        at_work(sandbox, stage.environ, chaos=plot.chaos) as workers,
        ExitStack() as bad_day,
    ):
        console.print(f"Ops page: http://{sandbox.addresses.web}/ops", highlight=False)
        if plot.chaos:
            bad_day.enter_context(killing(workers, plot.drawn("killer")))
        signed_up = stage.sign_up(console)
        with Days(console) as days:
            stage.let_time_pass(days)
            bad_day.close()
            stage.catch_up(days)
        console.print()
        verdict, accounts = stage.prove(signed_up)
        tell(verdict, accounts)
        if linger is not None:
            linger(sandbox, stage.doors())
        return verdict

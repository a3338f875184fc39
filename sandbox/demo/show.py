"""Runs the demo from start to verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from sandbox.demo.crew import at_work, killing
from sandbox.demo.stage import Plot, Stage
from sandbox.demo.verdict import Verdict
from sandbox.demo.view import Days
from sandbox.sandbox import Sandbox
from worker.store.overview import Account


def show(plot: Plot, prepare: Callable[[Path], None], console: Console) -> tuple[Verdict, Sequence[Account]]:
    """Plays it, with its progress on `console`. Returns the verdict and a sample of accounts."""
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
        return stage.prove(signed_up)

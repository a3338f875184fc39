"""`subkeeper demo`."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Sequence

import click
from rich.console import Console

from sandbox.demo.lingering import linger
from sandbox.demo.people import Refused
from sandbox.demo.show import show
from sandbox.demo.stage import Plot
from sandbox.demo.verdict import Verdict
from sandbox.demo.view import sample, verdict_table
from sandbox.errors import PartFailed
from sandbox.preparing import prepare
from worker.store.overview import Account

RIGHT = "Nothing missing, nothing double, every row as Stripe has it."


@click.command()
@click.option("--profiles", type=click.IntRange(1, 20_000), default=100, show_default=True)
@click.option("--pace", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Profiles a second.")
@click.option("--chaos", is_flag=True, help="Faults at Stripe, messages repeated, reordered, edited, workers killed.")
@click.option("--seed", type=int, help="Repeat the draws of a run that printed this seed.")
@click.option("--json", "json_wanted", is_flag=True, help="The verdict as JSON on stdout.")
@click.option("--open", "stays", is_flag=True, help="Leave everything running, with pages to click through.")
def demo(profiles: int, pace: float, chaos: bool, seed: int | None, json_wanted: bool, stays: bool) -> None:
    """Start a sandbox, publish profiles, and show that each gets one customer and one subscription; let two months of
    their lives pass on a test clock, and show that every row says what Stripe says.

    Exit codes: 0 it came out right; 1 it didn't, or failed; 2 the command line must be changed; 130 interrupted.
    """
    plot = Plot(profiles, pace, chaos, secrets.randbelow(2**32) if seed is None else seed)

    def tell(verdict: Verdict, accounts: Sequence[Account]) -> None:
        if json_wanted:
            click.echo(json.dumps(verdict.as_json()))
            return
        console = Console()
        console.print(sample(accounts, console.width), "", verdict_table(verdict), "")
        console.print(RIGHT if verdict.right else "NOT RIGHT.", f"Seed {plot.seed}.", highlight=False)

    try:
        verdict = show(plot, prepare, Console(stderr=True), tell, linger if stays else None)
    except (PartFailed, Refused) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0 if verdict.right else 1)

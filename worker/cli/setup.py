"""`subkeeper setup`."""

from __future__ import annotations

import click

from worker.cli.common import explained, loaded_for_people, seeded
from worker.runtime.setup import setup as set_up


@click.command()
@click.option(
    "--take-over",
    is_flag=True,
    help="Also where Stripe's products name another database: that one is lost, or out of use for good.",
)
@click.pass_context
def setup(context: click.Context, *, take_over: bool) -> None:
    """Create what is missing: schema, Stripe's products and prices, topics and channels. Safe to repeat."""
    with explained():
        for line in set_up(loaded_for_people(context, "warning"), seeded(), take_over=take_over):
            click.echo(line)

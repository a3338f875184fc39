"""`subkeeper run` and `subkeeper setup`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from worker.cli.common import explained, loaded, loaded_for_people, seeded
from worker.settings import LogSettings, Settings
from worker.telemetry import configure_logging


@click.command(short_help="Run a worker until SIGTERM.")
@click.argument("what", type=click.Choice(["profiles", "all"]))
@click.pass_context
def run(context: click.Context, what: str) -> None:  # noqa: ARG001 - `all` is `profiles` until there is more to run
    """Run a worker until SIGTERM, SIGINT or SIGHUP: it drains within 25 s. A second signal ends it at once.

    Exit codes: 0 drained; 1 failed, a restart may mend it; 2 the settings or the command line must be changed.
    """
    from worker.runtime.process import Process

    with explained():
        settings = loaded(context, sys.stdout)
        process = Process(settings, seeded())
        process.stop_on_signals()
        sys.exit(process.run())


@click.command(short_help="Create what is missing at Stripe, NSQ and Postgres.")
@click.option(
    "--take-over",
    is_flag=True,
    help="Also where Stripe's products name another database: that one is lost, or out of use for good.",
)
@click.pass_context
def setup(context: click.Context, *, take_over: bool) -> None:
    """Create what is missing: schema, Stripe's products and prices, topics and channels. Safe to repeat."""
    from worker.runtime.setup import setup as set_up

    with explained():
        for line in set_up(loaded_for_people(context, "warning"), seeded(), take_over=take_over):
            click.echo(line)


def prepare(config: Path) -> None:
    """Makes a fresh sandbox ready, as `subkeeper setup` would."""
    from worker.runtime.setup import setup as set_up

    settings = Settings.load(config, {})  # a key in the environment is not the sandbox's
    configure_logging(LogSettings(level="warning", format="console"), sys.stderr)
    for _ in set_up(settings, seeded()):
        pass

"""`subkeeper run`."""

from __future__ import annotations

import sys

import click

from worker.cli.common import explained, loaded, seeded
from worker.runtime.process import Process
from worker.runtime.services import ALL, FRONTS, JOBS


@click.command()
@click.argument("what", type=click.Choice([*JOBS, *FRONTS, ALL]))
@click.pass_context
def run(context: click.Context, what: str) -> None:
    """Run a worker until SIGTERM, SIGINT or SIGHUP: it drains within 25 s. A second signal ends it at once.

    \b
    profiles  takes profiles in, and gives each its customer and subscription
    events    takes in what the webhook and the poller publish: rows follow
    poller    asks Stripe for the events that nobody has processed
    relay     publishes each change of a subscription for other services
    web       takes Stripe's events at POST /stripe/webhook; the API; the ops page
    all       all of it in one process

    Exit codes: 0 drained; 1 failed, a restart may mend it; 2 the settings or the command line must be changed.
    """
    with explained():
        settings = loaded(context, sys.stdout)
        process = Process(settings, what, seeded())
        process.stop_on_signals()
        sys.exit(process.run())

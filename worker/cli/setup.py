"""`subkeeper setup`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from worker.cli.common import explained, loaded_for_people, seeded
from worker.runtime.setup import setup as set_up
from worker.runtime.webhook_setup import WebhookSetup


def _address(_context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise click.BadParameter("Give the whole address, as https://billing.example.com/stripe/webhook.")
    return url


@click.command()
@click.option(
    "--take-over",
    is_flag=True,
    help="Also where Stripe's products name another database: that one is lost, or out of use for good.",
)
@click.option("--webhook", metavar="URL", callback=_address, help="Also Stripe's endpoint that delivers events there.")
@click.option(
    "--webhook-secret-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where a new endpoint's secret goes (a new file, mode 0600); else it is printed, once.",
)
@click.option(
    "--webhook-secret-lost",
    is_flag=True,
    help="Disable the endpoint that is there, and make another: Stripe shows a secret once.",
)
@click.option("--retire", is_flag=True, help="Delete the endpoints that were replaced, once the new one delivered.")
@click.pass_context
def setup(
    context: click.Context,
    *,
    take_over: bool,
    webhook: str | None,
    webhook_secret_file: Path | None,
    webhook_secret_lost: bool,
    retire: bool,
) -> None:
    """Create what is missing: schema, Stripe's products and prices, topics and channels. Safe to repeat."""
    if webhook is None and (webhook_secret_file is not None or webhook_secret_lost or retire):
        raise click.UsageError("That is about the endpoint: give --webhook URL, too.")
    asked = None if webhook is None else WebhookSetup(webhook, webhook_secret_file, webhook_secret_lost, retire)
    with explained():
        for line in set_up(loaded_for_people(context, "warning"), seeded(), take_over=take_over, webhook=asked):
            click.echo(line)

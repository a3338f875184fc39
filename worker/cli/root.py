"""The command itself."""

from __future__ import annotations

from pathlib import Path

import click

from worker.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="subkeeper")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The settings, as TOML (else SUBKEEPER_CONFIG; else defaults and the environment).",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Keeps subscriptions and Stripe in step: every profile gets its subscription, once.

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed.
    """
    context.obj = config

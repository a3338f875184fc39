"""The command itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from worker.cli.common import INTERRUPTED
from worker.version import VERSION

EXIT_CODES = "Exit codes: "


class Quiet(click.Group):
    """Ends without a word and with 130 at a Ctrl-C; click would say "Aborted!" and exit with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


@click.group(cls=Quiet, context_settings={"help_option_names": ["-h", "--help"]})
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

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed; 130 interrupted.
    """
    context.obj = config


def pass_exit_codes_on(group: click.Group) -> None:
    """Every command below says its exit codes in its help: its own, else its group's."""
    said = (group.help or "").partition(EXIT_CODES)[2] or (group.epilog or "").removeprefix(EXIT_CODES)
    for command in group.commands.values():
        if EXIT_CODES not in (command.help or ""):
            command.epilog = EXIT_CODES + said
        if isinstance(command, click.Group):
            pass_exit_codes_on(command)

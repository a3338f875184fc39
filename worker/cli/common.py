"""`subkeeper`: commands, thin. What they do lives in the packages they import, and only when they run."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from worker.errors import Misconfigured, SubkeeperError
from worker.sandbox.commands import build_group
from worker.sandbox.demo.commands import demo_command
from worker.settings import LogSettings, Settings
from worker.telemetry import configure_logging, install_crash_hooks
from worker.version import VERSION

BAD_SETTINGS, FAILED = 2, 1
"""Exit codes: 2 where a person must change a setting, 1 where something else went wrong."""


@contextmanager
def explained() -> Iterator[None]:
    """Our errors as one line on stderr and an exit code, never as a traceback."""
    try:
        yield
    except Misconfigured as error:
        for line in str(error).splitlines():
            click.echo(f"subkeeper: {line}", err=True)
        sys.exit(BAD_SETTINGS)
    except SubkeeperError as error:
        click.echo(f"subkeeper: {error}", err=True)
        sys.exit(FAILED)


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
    """Keeps subscriptions and Stripe in step: every profile gets its subscription, once."""
    context.obj = config


def loaded(context: click.Context, logs: TextIO) -> Settings:
    """The settings of this invocation, with logging set up to keep their secrets out."""
    settings = Settings.load(context.find_root().obj, os.environ)
    configure_logging(settings.log, logs, settings.secret_values())
    install_crash_hooks()
    return settings


def seeded() -> random.Random:
    """Chance for jitter. Not for secrets, so not of the cryptographic kind."""
    return random.Random()  # noqa: S311 - jitter


@main.command()
@click.argument("what", type=click.Choice(["profiles", "all"]))
@click.pass_context
def run(context: click.Context, what: str) -> None:  # noqa: ARG001 - `all` is `profiles` until there is more to run
    """Run a worker until SIGTERM: it drains, and exits 0. A second signal ends it at once."""
    from worker.runtime.process import Process

    with explained():
        settings = loaded(context, sys.stdout)
        process = Process(settings, seeded())
        process.stop_on_signals()
        sys.exit(process.run())


@main.command()
@click.pass_context
def setup(context: click.Context) -> None:
    """Create what is missing: schema, Stripe's products and prices, topics and channels. Safe to repeat."""
    from worker.runtime.setup import setup as set_up

    with explained():
        for line in set_up(loaded(context, sys.stderr), seeded()):
            click.echo(line)


@main.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@click.option("--json", "json_wanted", is_flag=True, help="As JSON instead of TOML.")
@click.pass_context
def check(context: click.Context, json_wanted: bool) -> None:
    """Check the settings, and print those in effect with secrets masked."""
    from worker.settings.effective import as_json, as_toml, effective

    with explained():
        found = effective(Settings.load(context.find_root().obj, os.environ))
        click.echo(as_json(found) if json_wanted else as_toml(found))


@main.group()
def db() -> None:
    """Look after the database's schema."""


@db.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Apply the migrations that are missing. Safe to repeat, and to run twice at once."""
    from worker.runtime.setup import upgrade_schema

    with explained():
        click.echo(upgrade_schema(loaded(context, sys.stderr)))


@db.command("check")
@click.pass_context
def db_check(context: click.Context) -> None:
    """Whether this Subkeeper can work on the database, and whether tables and migrations agree. Exit 1 if not."""
    from worker.runtime.setup import schema_differences

    with explained():
        differences = schema_differences(loaded(context, sys.stderr))
    for line in differences:
        click.echo(line)
    if differences:
        sys.exit(FAILED)
    click.echo("schema: current; tables and migrations agree")


def prepare(config: Path) -> None:
    """Makes a fresh sandbox ready, as `subkeeper setup` would."""
    from worker.runtime.setup import setup as set_up

    settings = Settings.load(config, os.environ)
    configure_logging(LogSettings(level="warning", format="console"), sys.stderr)
    for _ in set_up(settings, seeded()):
        pass


main.add_command(build_group(prepare))
main.add_command(demo_command(prepare))

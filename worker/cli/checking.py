"""`subkeeper config` and `subkeeper db`."""

from __future__ import annotations

import sys

import click

from worker.cli.common import FAILED, explained, loaded_for_people, seeded


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@click.option("--json", "json_wanted", is_flag=True, help="As JSON instead of TOML.")
@click.pass_context
def check(context: click.Context, json_wanted: bool) -> None:
    """Check the settings as `run` does before it connects to anything, and print those in effect with secrets masked.

    Exit codes: 0 `run` would start with them (`doctor` also connects); 2 it would not.
    """
    from worker.runtime.checking import require_usable
    from worker.settings.effective import as_json, as_toml, effective

    with explained():
        settings = loaded_for_people(context)
        require_usable(settings, seeded())
        found = effective(settings)
        click.echo(as_json(found) if json_wanted else as_toml(found))


@click.group()
def db() -> None:
    """Look after the database's schema."""


@db.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Apply the migrations that are missing. Safe to repeat, and to run twice at once."""
    from worker.runtime.setup import upgrade_schema

    with explained():
        click.echo(upgrade_schema(loaded_for_people(context)))


@db.command("check", short_help="Can this Subkeeper work on the database?")
@click.pass_context
def db_check(context: click.Context) -> None:
    """Whether this Subkeeper can work on the database, and whether tables and migrations agree.

    Exit codes: 0 yes; 1 they don't agree, or Postgres is away; 2 the settings, the schema or the command line must be
    changed.
    """
    from worker.runtime.setup import schema_differences

    with explained():
        differences = schema_differences(loaded_for_people(context))
    for line in differences:
        click.echo(line)
    if differences:
        sys.exit(FAILED)
    click.echo("schema: current; tables and migrations agree")

"""`subkeeper db`."""

from __future__ import annotations

import sys

import click

from worker.cli.common import FAILED, explained, loaded_for_people
from worker.runtime.setup import schema_differences, upgrade_schema


@click.group()
def db() -> None:
    """Look after the database's schema."""


@db.command()
@click.pass_context
def upgrade(context: click.Context) -> None:
    """Apply the migrations that are missing. Safe to repeat, and to run twice at once."""
    with explained():
        click.echo(upgrade_schema(loaded_for_people(context)))


@db.command("check", short_help="Can this Subkeeper work on the database?")
@click.pass_context
def db_check(context: click.Context) -> None:
    """Whether this Subkeeper can work on the database, and whether tables and migrations agree.

    Exit codes: 0 yes; 1 they don't agree, or Postgres is away; 2 the settings, the schema or the command line must be
    changed.
    """
    with explained():
        differences = schema_differences(loaded_for_people(context))
    for line in differences:
        click.echo(line)
    if differences:
        sys.exit(FAILED)
    click.echo("schema: current; tables and migrations agree")

"""`subkeeper config`."""

from __future__ import annotations

import click

from worker.cli.common import explained, loaded_for_people, seeded
from worker.runtime.checking import require_usable
from worker.settings.effective import as_json, as_toml, effective


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
    with explained():
        settings = loaded_for_people(context)
        require_usable(settings, seeded())
        found = effective(settings)
        click.echo(as_json(found) if json_wanted else as_toml(found))

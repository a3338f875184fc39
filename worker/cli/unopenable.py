"""`subkeeper quarantine unopenable`: profiles whose key is lost."""

from __future__ import annotations

import click

from worker.cli.common import confirm, explained, loaded_for_people
from worker.cli.output import counted
from worker.quarantine.actions import Quarantine
from worker.runtime.operations import open_database
from worker.sealing import Sealer


@click.command("unopenable", short_help="Set aside profiles whose sealing key is lost.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def unopenable(context: click.Context, *, yes: bool) -> None:
    """Set aside the profiles that are sealed under a key which SUBKEEPER_SECRET_KEY does not list.

    For a key that is lost: while some worker has it, that one settles them. Publish their profiles again afterwards
    (`subkeeper backfill`), and they take the place of what can't be opened.

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed.
    """
    with explained():
        settings = loaded_for_people(context)
        sealer = Sealer(settings.secret_keys())
        with open_database(settings, "quarantine") as database:
            quarantined = Quarantine(database)
            found = quarantined.count_unopenable(sealer)
            if found and not yes:
                confirm(f"{counted(found, 'profile')} can't be opened with these keys. Is their key lost for good?")
            done = quarantined.set_aside_unopenable(sealer) if found else 0
    click.echo(f"{counted(done, 'profile')} set aside")

"""`subkeeper quarantine unopenable`: profiles, and changes that were asked for, whose key is lost."""

from __future__ import annotations

import click

from worker.cli.common import confirm, explained, loaded_for_people
from worker.cli.output import counted
from worker.quarantine.actions import Quarantine
from worker.runtime.operations import open_database
from worker.sealing import Sealer


@click.command("unopenable", short_help="Set aside what is sealed under a key that is lost.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def unopenable(context: click.Context, *, yes: bool) -> None:
    """Set aside profiles that are sealed under a key which SUBKEEPER_SECRET_KEY does not list, and fail such changes.

    For a key that is lost: while some process has it, that one settles them. Publish their profiles again afterwards
    (`subkeeper backfill`), and they take the place of what can't be opened. Of a change to an email that was asked for
    by the API, who asked is told that it failed (`key_lost`), and the user's next change goes on.

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed.
    """
    with explained():
        settings = loaded_for_people(context)
        sealer = Sealer(settings.secret_keys())
        with open_database(settings, "quarantine") as database:
            quarantined = Quarantine(database)
            profiles, changes = quarantined.count_unopenable(sealer)
            if (profiles or changes) and not yes:
                found = f"{counted(profiles, 'profile')} and {counted(changes, 'change')}"
                confirm(f"{found} can't be opened with these keys. Is their key lost for good?")
            aside = quarantined.set_aside_unopenable(sealer) if profiles else 0
            failed = quarantined.fail_unopenable(sealer) if changes else 0
    click.echo(f"{counted(aside, 'profile')} set aside, {counted(failed, 'change')} failed")

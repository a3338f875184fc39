"""`subkeeper token`."""

from __future__ import annotations

import json

import click

from worker.accounts.tokens import new_token


@click.group()
def token() -> None:
    """Make a token for an admin of the API."""


@token.command(short_help="Print a new token, and its digest for the settings.")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON.")
def new(json_wanted: bool) -> None:
    """Print a new token, which is kept nowhere, and its digest, for api.admin_tokens in the settings.

    Exit codes: 0 done; 2 the command line must be changed.
    """
    made = new_token()
    if json_wanted:
        click.echo(json.dumps(made._asdict()))
        return
    click.echo(f"token   {made.token}")
    click.echo(f"digest  {made.digest}")
    click.echo("The token goes to whoever is to use it, and is not shown again; the digest into api.admin_tokens.")

"""`subkeeper erase`."""

from __future__ import annotations

import sys

import click

from worker.cli.common import FAILED, confirm, in_the_making, loaded_for_people, seeded, user_argument
from worker.cli.output import details, json_line, shown
from worker.cli.refusals import refused_as_by_the_api
from worker.domain.account_changes import Kind
from worker.domain.accounts import SubscriptionChange
from worker.domain.erasure import STRIPE_KEEPS, Erasure, ErasureState
from worker.runtime.changing import open_changing
from worker.runtime.explaining import is_known


@click.command()
@user_argument
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object.")
@click.pass_context
def erase(context: click.Context, user: str, *, yes: bool, json_wanted: bool) -> None:
    """Erase a user, at Stripe and here, for good: the id is all that stays.

    Their subscriptions end at once, their customers at Stripe are deleted, and what is kept of them here is erased. A
    message or an event that comes later brings nothing back. By the same rows and the same work as the API's: where it
    has to wait, the web process goes on with it, and so does this command, given again.

    Exit codes: 0 done; 1 failed, or not done yet; 2 the settings or the command line must be changed.
    """
    with refused_as_by_the_api(json_wanted=json_wanted):
        settings = loaded_for_people(context)
        if not is_known(settings, user):
            # Such an id may be right, of one whose profile is on its way; or mistyped, and then it is lost to its user.
            told = f"nothing is known here of {shown(user)}; once erased, nothing is ever taken in for that id"
            click.echo(f"subkeeper: {told}", err=True)
        if not yes:
            confirm(f"Cancel all that {shown(user)} has, and erase them at Stripe and here, for good?")
        with open_changing(settings, seeded()) as changing:
            with in_the_making(user):
                changing.make(Kind.ERASE, user, SubscriptionChange())
            found = changing.asking.erasure(user)
    assert found is not None, "asked for above"
    _show(found, json_wanted=json_wanted)
    if found.state is not ErasureState.ERASED:
        click.echo(f"subkeeper: not done yet ({found.waits_for or 'under way'}): the web process goes on", err=True)
        sys.exit(FAILED)


def _show(found: Erasure, *, json_wanted: bool) -> None:
    told = {**found._asdict(), "state": found.state.value}
    if json_wanted:
        json_line({**told, "stripe_keeps": STRIPE_KEEPS})
        return
    details({name: value for name, value in told.items() if value is not None})
    click.echo("Stripe keeps:")
    for each in STRIPE_KEEPS:
        click.echo(f"- {each}")

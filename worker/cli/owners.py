"""`subkeeper owners`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from worker.accounts.sharing import Sharing
from worker.cli.common import an_id, loaded_for_people
from worker.cli.output import details, json_line, table
from worker.cli.refusals import refused_as_by_the_api
from worker.domain.owners import Owner, OwnerKind, Role, Share, told_of
from worker.runtime.operations import open_database
from worker.settings.model import Settings

COLUMNS = ["customer", "kind", "owner", "role"]

customer_argument = click.argument("customer", callback=an_id)
user_option = click.option("--user", metavar="USER", callback=an_id, help="A user, by the profile's id.")
project_option = click.option("--project", metavar="PROJECT", callback=an_id, help="A project, by its id.")
json_option = click.option("--json", "json_wanted", is_flag=True, help="One JSON object.")


@click.group()
def owners() -> None:
    """Who owns a customer at Stripe (cus_…), users and projects, and as what: by the same rules as the API.

    A payer may pay there; a member may have subscriptions there.

    Exit codes: 0 done; 1 failed, or refused; 2 the settings or the command line must be changed.
    """


@owners.command("list", short_help="Who owns a customer; or what a user or a project owns.")
@click.argument("customer", required=False, callback=an_id)
@user_option
@project_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line.")
@click.pass_context
def list_(
    context: click.Context, customer: str | None, user: str | None, project: str | None, limit: int, *,
    json_wanted: bool,
) -> None:  # fmt: skip
    """Who owns CUSTOMER: projects first, then users. With --user or --project: the customers that one owns."""
    if [customer, user, project].count(None) != 2:
        raise click.UsageError("Say of which: give a CUSTOMER, --user or --project.")
    with _opened(context, json_wanted=json_wanted) as (settings, sharing):
        if customer is not None:
            found = [(customer, share) for share in sharing.of(customer, None, limit + 1)]
        else:
            owner = _owner(user, project)
            owned = sharing.owned_by(owner, 0, limit + 1)
            found = [(each.customer_id, Share(owner, each.role)) for each in owned]
    if json_wanted:
        for each in found[:limit]:
            json_line(told_of(*each, settings.namespace))
    else:
        table([_row(*each) for each in found[:limit]], COLUMNS)
    if len(found) > limit:
        click.echo(f"Only the first {limit}: raise --limit.", err=True)


@owners.command(short_help="Give a user or a project a role.")
@customer_argument
@user_option
@project_option
@click.option("--role", type=click.Choice([each.value for each in Role]), required=True)
@json_option
@click.pass_context
def add(
    context: click.Context, customer: str, user: str | None, project: str | None, role: str, *, json_wanted: bool
) -> None:
    """Give a user or a project a role on CUSTOMER, in place of the one that they have there.

    Put the metadata that is shown on the subscriptions that you make for them there: nothing else says whose they are.
    """
    share = Share(_owner(user, project), Role(role))
    with _opened(context, json_wanted=json_wanted) as (settings, sharing):
        sharing.set(customer, *share)
    told = told_of(customer, share, settings.namespace)
    if json_wanted:
        json_line(told)
    else:
        details(dict(_flat(told)))


@owners.command(short_help="Take a user or a project away.")
@customer_argument
@user_option
@project_option
@json_option
@click.pass_context
def remove(context: click.Context, customer: str, user: str | None, project: str | None, *, json_wanted: bool) -> None:
    """Have a user or a project own CUSTOMER no more.

    It is refused while they have something there that hasn't ended. The others keep what is theirs.
    """
    owner = _owner(user, project)
    with _opened(context, json_wanted=json_wanted) as (_, sharing):
        sharing.set(customer, owner, None)
    if json_wanted:
        json_line({"customer": customer, "user_id": user, "project_id": project, "role": None})
    else:
        click.echo("removed")


@contextmanager
def _opened(context: click.Context, *, json_wanted: bool) -> Iterator[tuple[Settings, Sharing]]:
    with refused_as_by_the_api(json_wanted=json_wanted):
        settings = loaded_for_people(context)
        with open_database(settings, "owners") as database:
            yield settings, Sharing(database)


def _owner(user: str | None, project: str | None) -> Owner:
    if user is not None and project is None:
        return Owner(OwnerKind.USER, user)
    if project is not None and user is None:
        return Owner(OwnerKind.PROJECT, project)
    raise click.UsageError("Say whose: give --user or --project.")


def _row(customer_id: str, share: Share) -> dict[str, object]:
    return {"customer": customer_id, "kind": share.owner.kind.value, "owner": share.owner.id, "role": share.role.value}


def _flat(told: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What is nested by its path."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value

"""`subkeeper subscriptions`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from worker.accounts.listing import Listing
from worker.cli.common import FAILED, an_id, confirm, explained, in_the_making, loaded_for_people, seeded, user_argument
from worker.cli.output import details, json_line, table
from worker.cli.refusals import at, refused_as_by_the_api, say_refusal
from worker.domain.account_changes import Kind, told_of
from worker.domain.accounts import UNSET, SubscriptionChange
from worker.domain.statuses import MEANINGS
from worker.runtime.changing import current, open_changing, refusals
from worker.runtime.operations import open_database
from worker.store.subscription_list import NEWEST, Chosen
from worker.store.told_changes import ToldChange
from worker.web.api.change_views import change_view, refusal_of
from worker.web.api.subscriptions import view_of

COLUMNS = ["subscription", "user", "project", "plan", "status"]
SHORT = {"subscription": "stripe_subscription", "user": "user_id", "project": "project_id"}
"""What columns are headed with, of fields that are named otherwise."""

json_option = click.option("--json", "json_wanted", is_flag=True, help="One JSON object.")


@click.group()
def subscriptions() -> None:
    """Read and change users' subscriptions, as an admin may by the API.

    What is changed goes to Stripe first, by the same rows and the same work as the API's: it is done once, and after a
    kill the web process goes on with it.

    Exit codes: 0 done; 1 failed, or not done yet; 2 the settings or the command line must be changed.
    """


@subscriptions.command()
@user_argument
@json_option
@click.pass_context
def get(context: click.Context, user: str, *, json_wanted: bool) -> None:
    """A user's current subscription, as our tables have it."""
    with refused_as_by_the_api(json_wanted=json_wanted):
        settings = loaded_for_people(context)
        row = current(settings, user)
    _show(row, settings.pending_plan, json_wanted=json_wanted)


@subscriptions.command("list", short_help="All of them, a plan's, a project's, or those in a status.")
@click.option("--status", "statuses", type=click.Choice(list(MEANINGS)), multiple=True, help="May be repeated.")
@click.option("--plan", metavar="PLAN", help="Only those on this plan.")
@click.option("--project", metavar="PROJECT", callback=an_id, help="Only this project's.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line.")
@click.pass_context
def list_(
    context: click.Context, statuses: Sequence[str], plan: str | None, project: str | None, limit: int, *,
    json_wanted: bool,
) -> None:  # fmt: skip
    """Subscriptions as our tables have them, ended ones included, the newest here first."""
    asked = Chosen(plan, statuses or None), NEWEST, limit + 1
    with explained():
        settings = loaded_for_people(context)
        with open_database(settings, "subscriptions") as database:
            listing = Listing(database)
            found = listing.page(*asked) if project is None else listing.of_project(project, None, *asked) or ()
    views = [view_of(told_of(each.row), settings.pending_plan).model_dump() for each in found[:limit]]
    if json_wanted:
        for view in views:
            json_line(view)
    else:
        table([{**view, **{short: view[name] for short, name in SHORT.items()}} for view in views], COLUMNS)
    if len(found) > limit:
        click.echo(f"Only the newest {limit}: narrow it, or raise --limit.", err=True)


@subscriptions.command("set")
@user_argument
@click.option("--plan", metavar="PLAN", help="One of the configured plans.")
@click.option("--card", metavar="PM", help="A payment method (pm_…): attached, and made the default.")
@click.option("--email", metavar="EMAIL", help="The customer's at Stripe.")
@json_option
@click.pass_context
def set_(
    context: click.Context, user: str, plan: str | None, card: str | None, email: str | None, *, json_wanted: bool
) -> None:
    """Change plan, card or email: the card first, the plan last."""
    change = SubscriptionChange(
        plan=UNSET if plan is None else plan,
        stripe_source=UNSET if card is None else card,
        email=UNSET if email is None else email,
    )
    if change.is_empty:
        raise click.UsageError("Give --plan, --card or --email.")
    _change(context, Kind.UPDATE, user, change, json_wanted=json_wanted)


@subscriptions.command()
@user_argument
@click.option("--undo", is_flag=True, help="It goes on after all.")
@json_option
@click.pass_context
def cancel(context: click.Context, user: str, *, undo: bool, json_wanted: bool) -> None:
    """Have it end with its period."""
    _change(context, Kind.UPDATE, user, SubscriptionChange(canceling=not undo), json_wanted=json_wanted)


@subscriptions.command(short_help="Cancel it at once, and remove it here for good.")
@user_argument
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
@click.pass_context
def delete(context: click.Context, user: str, *, yes: bool, json_wanted: bool) -> None:
    """Cancel it at Stripe at once, and remove it here for good: nothing brings it back."""
    if not yes:
        confirm(f"Cancel the subscription of {user} at once, and remove it for good?")
    _change(context, Kind.DELETE, user, SubscriptionChange(), json_wanted=json_wanted)


def _change(context: click.Context, kind: Kind, user: str, change: SubscriptionChange, *, json_wanted: bool) -> None:
    with refused_as_by_the_api(json_wanted=json_wanted):
        settings = loaded_for_people(context)
        if kind is not Kind.DELETE and (refused := refusals(settings, change)):
            raise click.UsageError("; ".join(at(*each) for each in refused))
        with open_changing(settings, seeded()) as changing, in_the_making(user):
            told = changing.make(kind, user, change)
    row = (told.result or {}).get("subscription")
    if told.state == "applied" and row is not None:
        _show(row, settings.pending_plan, json_wanted=json_wanted)
    elif json_wanted:
        json_line(change_view(told, settings.pending_plan).model_dump(mode="json"))
    elif told.state == "applied":
        click.echo("removed")
    if told.state != "applied":
        _say_why(told)
        sys.exit(FAILED)


def _show(row: Mapping[str, object], pending_plan: str, *, json_wanted: bool) -> None:
    """A row of our tables, or what became of one, which is kept as JSON: as the API tells it."""
    (json_line if json_wanted else details)(view_of(row, pending_plan).model_dump())


def _say_why(told: ToldChange) -> None:
    result = told.result or {}
    if (error := result.get("error")) is None:
        click.echo(f"subkeeper: not done yet: the web process goes on with the change {told.id}", err=True)
    else:
        say_refusal(*refusal_of(error), result["applied"])

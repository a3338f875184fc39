"""`subkeeper subscriptions`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime

import click

from worker.cli.common import FAILED, confirm, explained, loaded_for_people, seeded
from worker.cli.output import details, json_line
from worker.domain.account_changes import Kind
from worker.domain.accounts import UNSET, SubscriptionChange
from worker.runtime.changing import current, open_changing, refusals
from worker.store.told_changes import ToldChange

FIELDS = (
    "user_id", "stripe_subscription", "plan", "stripe_subscription_status", "canceling", "trial_start", "trial_end",
    "period_start", "period_end", "canceled_at", "ended_at", "failed_charge_attempts", "last_failed_charge", "version",
)  # fmt: skip
_OPTIONS = {"stripe_source": "--card", "canceling": "--undo"}
"""The options that are not named as the fields of a change that they give."""

_TIMES = {
    "trial_start", "trial_end", "period_start", "period_end", "canceled_at", "ended_at", "last_failed_charge"
}  # fmt: skip

json_option = click.option("--json", "json_wanted", is_flag=True, help="One JSON object.")


@click.group()
def subscriptions() -> None:
    """Read and change users' subscriptions, as an admin may by the API.

    What is changed goes to Stripe first, by the same rows and the same work as the API's: it is done once, and after a
    kill the web process goes on with it.

    Exit codes: 0 done; 1 failed, or not done yet; 2 the settings or the command line must be changed.
    """


@subscriptions.command()
@click.argument("user")
@json_option
@click.pass_context
def get(context: click.Context, user: str, *, json_wanted: bool) -> None:
    """A user's current subscription, as our tables have it."""
    with explained():
        row = current(loaded_for_people(context), user)
    _show(row, json_wanted=json_wanted)


@subscriptions.command("set")
@click.argument("user")
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
@click.argument("user")
@click.option("--undo", is_flag=True, help="It goes on after all.")
@json_option
@click.pass_context
def cancel(context: click.Context, user: str, *, undo: bool, json_wanted: bool) -> None:
    """Have it end with its period."""
    _change(context, Kind.UPDATE, user, SubscriptionChange(canceling=not undo), json_wanted=json_wanted)


@subscriptions.command()
@click.argument("user")
@click.option("--yes", is_flag=True, help="Don't ask.")
@json_option
@click.pass_context
def delete(context: click.Context, user: str, *, yes: bool, json_wanted: bool) -> None:
    """Cancel it at Stripe at once, and remove it here for good: nothing brings it back."""
    if not yes:
        confirm(f"Cancel the subscription of {user} at once, and remove it for good?")
    _change(context, Kind.DELETE, user, SubscriptionChange(), json_wanted=json_wanted)


def _change(context: click.Context, kind: Kind, user: str, change: SubscriptionChange, *, json_wanted: bool) -> None:
    with explained():
        settings = loaded_for_people(context)
        if kind is not Kind.DELETE and (refused := refusals(settings, change)):
            raise click.UsageError("; ".join(_at(*each) for each in refused))
        with open_changing(settings, seeded()) as changing:
            told = changing.make(kind, user, change)
    result = told.result or {}
    if (row := result.get("subscription")) is not None:
        _show(row, json_wanted=json_wanted)
    elif json_wanted:
        json_line({"id": str(told.id), "user_id": told.user_id, "state": told.state, **result})
    elif told.state == "applied":
        click.echo("removed")
    if told.state != "applied":
        click.echo(f"subkeeper: {_why(told)}", err=True)
        sys.exit(FAILED)


def _show(row: Mapping[str, object], *, json_wanted: bool) -> None:
    """A row of our tables, or what became of one, which is kept as JSON."""
    shown = {name: _time(row[name]) if name in _TIMES else row[name] for name in FIELDS}
    (json_line if json_wanted else details)(shown)


def _time(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _why(told: ToldChange) -> str:
    error = (told.result or {}).get("error")
    if error is None:
        return f"not done yet: the web process goes on with the change {told.id}"
    applied = (told.result or {}).get("applied", [])
    where = "".join(f"; {_at(each['pointer'].removeprefix('/'), each['code'])}" for each in error["errors"])
    return f"{error['detail']} ({error['code']}){where}" + (f"; done: {', '.join(applied)}" if applied else "")


def _at(field: str, what: str) -> str:
    return f"{_OPTIONS.get(field, f'--{field}')}: {what}" if field else what

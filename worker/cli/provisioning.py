"""`subkeeper provisioning`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from worker.cli.common import confirm, explained, loaded_for_people
from worker.cli.output import age, counted, details, json_line, revealed, shown, since, table
from worker.domain.lanes import Lane
from worker.domain.provisioning import UNFINISHED, State, Step, step_key
from worker.errors import SubkeeperError
from worker.provisioning.restored import count_unfinished, look_first
from worker.quarantine.actions import reveal_request
from worker.runtime.operations import open_database
from worker.sealing import Sealer
from worker.store import deployment
from worker.store.provisioning import views
from worker.store.provisioning.views import LedgerRow, SubscriptionRow

STATES = ("pending", "customer_created", "completed", "quarantined", "erasing", "erased")

json_option = click.option("--json", "json_wanted", is_flag=True, help="JSON instead of a table.")


@click.group()
def provisioning() -> None:
    """The ledger: what was asked of Stripe for a user, when, with which key, and what came back.

    Exit codes: 0 done; 1 failed, or no such user; 2 the settings or the command line must be changed.
    """


@provisioning.command()
@click.argument("user")
@click.option("--reveal", is_flag=True, help="Also what is sealed: personal data. Needs SUBKEEPER_SECRET_KEY.")
@json_option
@click.pass_context
def show(context: click.Context, user: str, *, reveal: bool, json_wanted: bool) -> None:
    """All that is known of one user; as JSON, one object."""
    with explained():
        settings = loaded_for_people(context)
        with open_database(settings, "provisioning") as database:
            with database.transaction() as tx:
                row = views.find(tx, user)
                subscriptions = views.subscriptions(tx, user)
                namespace = deployment.namespace(tx) or settings.namespace
            if row is None:
                raise SubkeeperError(f"no user {shown(user)!r} in the ledger")
            found: dict[str, object] = {**_named(row), "requests": list(_requests(row, namespace))}
            found["subscriptions"] = [each._asdict() for each in subscriptions]
            if reveal:
                found |= revealed(reveal_request(database, user, Sealer(settings.secret_keys())))
    if json_wanted:
        json_line(found)
    else:
        _tell(found, list(_requests(row, namespace)), subscriptions)


@provisioning.command("list", short_help="Users by the state they are in, the oldest first.")
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES),
    multiple=True,
    help="May be repeated. [default: the unfinished ones]",
)
@click.option("--older-than", type=age, default="0s", metavar="TIME", help="First seen so long ago: 10m, 2h, 3d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Skip so many.")
@json_option
@click.pass_context
def list_(
    context: click.Context,
    states: tuple[str, ...],
    older_than: timedelta,
    limit: int,
    offset: int,
    *,
    json_wanted: bool,
) -> None:
    """Users by the state they are in, the oldest first; as JSON, one object a line."""
    with explained():
        settings = loaded_for_people(context)
        wanted = [State(state) for state in states] or list(UNFINISHED)
        with open_database(settings, "provisioning") as database, database.transaction() as tx:
            rows = views.page(tx, wanted, older_than, limit=limit, offset=offset)
    if json_wanted:
        for row in rows:
            json_line(_named(row))
        return
    table([_short(row) for row in rows], ["user", "state", "tries", "age", "due", "last error"])


@provisioning.command(short_help="Have the unfinished looked for at Stripe first.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def doubt(context: click.Context, *, yes: bool) -> None:
    """Make every unfinished profile be looked for at Stripe before anything is created for it.

    For a database that was restored from a backup, or lost its newest rows in a failover: more may have happened at
    Stripe than it knows. Run it before the workers start. It costs a few reads of Stripe for each profile, and may be
    repeated.
    """
    with explained():
        settings = loaded_for_people(context)
        with open_database(settings, "provisioning") as database:
            found = count_unfinished(database)
            if found and not yes:
                confirm(f"Have Stripe searched first for {counted(found, 'unfinished profile')}?")
            done = look_first(database) if found else 0
    click.echo(f"{counted(done, 'profile')} will be looked for at Stripe first")


def _named(row: LedgerRow) -> dict[str, object]:
    return {**row._asdict(), "lane": Lane(row.lane).name.lower()}


def _short(row: LedgerRow) -> dict[str, object]:
    due = None
    if row.state in STATES[:2]:
        due = "now" if row.due_at <= datetime.now(UTC) else f"in {since(row.due_at)}"
    return {
        "user": row.user_id,
        "state": row.state,
        "tries": row.attempts,
        "age": since(row.first_seen_at),
        "due": due,
        "last error": row.last_error,
    }


def _requests(row: LedgerRow, namespace: str) -> Iterator[dict[str, object]]:
    """What was asked of Stripe, with the key of each generation that it may have been asked in, the newest first."""
    asked = {
        Step.CUSTOMER: (row.customer_requested_at, row.customer_last_requested_at, row.stripe_customer_id),
        Step.SUBSCRIPTION: (
            row.subscription_requested_at,
            row.subscription_last_requested_at,
            row.stripe_subscription_id,
        ),
    }
    for step, (first, last, answer) in asked.items():
        keys = [step_key(namespace, row.user_id, step, number) for number in range(row.generation, 0, -1)]
        yield {
            "step": step.value,
            "first_requested_at": first,
            "last_requested_at": last,
            "idempotency_keys": keys if first else [],
            "stripe_id": answer,
        }


def _tell(found: dict[str, object], requests: list[dict[str, object]], subscriptions: list[SubscriptionRow]) -> None:
    told = ("customer_requested_at", "customer_last_requested_at", "subscription_requested_at")
    nested = (*told, "subscription_last_requested_at", "requests", "subscriptions")
    details(
        {name: value for name, value in found.items() if name not in nested} | {"age": since(found["first_seen_at"])}
    )
    for request in requests:
        click.echo(f"\n{request['step']}: {shown(request['stripe_id'])}")
        click.echo(f"  first asked {shown(request['first_requested_at'])}, last {shown(request['last_requested_at'])}")
        keys = request["idempotency_keys"]
        assert isinstance(keys, list), "made so above"
        for key in keys:
            click.echo(f"  key {key}")
    for each in subscriptions:
        click.echo("")
        details(each._asdict())

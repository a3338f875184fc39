"""`subkeeper quarantine`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from worker.cli.choosing import apply, choose, count
from worker.cli.common import FAILED, confirm, explained, loaded_for_people, seeded
from worker.cli.output import counted, details, json_line, revealed, shown, since, table
from worker.cli.unopenable import unopenable
from worker.quarantine.actions import Outcome, Quarantine
from worker.runtime.operations import open_database, open_publisher
from worker.sealing import Sealer
from worker.settings.model import Settings
from worker.store import quarantine_list
from worker.store.provisioning.views import LedgerRow
from worker.store.quarantine import KeptMessage
from worker.store.quarantine_list import Kind

MESSAGE_FIELDS = (
    "id", "topic", "nsq_message_id", "reason", "detail", "published_at", "quarantined_at", "expires_at",
)  # fmt: skip
PROFILE_FIELDS = (
    "user_id", "last_error", "generation", "attempts", "stripe_customer_id", "first_seen_at", "quarantined_at",
)  # fmt: skip

TOTAL_COLUMNS = ("count", "kind", "reason")

json_option = click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line.")
kind_option = click.option("--kind", type=click.Choice(["message", "profile"]), help="Only of this kind.")
reason_option = click.option("--reason", metavar="R", help="Only for this reason.")
all_option = click.option("--all", "everything", is_flag=True, help="All (of --kind, if given).")


@click.group()
def quarantine() -> None:
    """What waits for a person: messages that could not be read, profiles that Stripe refuses.

    A message is named by its number, a profile by its user.

    Exit codes: 0 done; 1 failed, or not for all; 2 the settings or the command line must be changed.
    """


@quarantine.command("list")
@kind_option
@reason_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Skip so many.")
@click.option("--totals", "totals_only", is_flag=True, help="Only how many there are for each reason.")
@json_option
@click.pass_context
def list_(
    context: click.Context, kind: str | None, reason: str | None, limit: int, offset: int, *, totals_only: bool,
    json_wanted: bool,
) -> None:  # fmt: skip
    """What is in quarantine, the newest first, and how much of it."""
    with explained():
        settings = loaded_for_people(context)
        wanted = quarantine_list.Kind(kind) if kind else None
        with _opened(settings) as (database, _), database.transaction() as tx:
            page = [] if totals_only else quarantine_list.page(tx, wanted, reason, limit=limit, offset=offset)
            totals = quarantine_list.totals(tx, wanted, reason)
    rows = [asdict(row) for row in (totals if totals_only else page)]
    if json_wanted:
        for row in rows:
            json_line(row)
        return
    if totals_only:
        table(rows, TOTAL_COLUMNS)
        return
    table([{**row, "age": since(row["quarantined_at"])} for row in rows], ["kind", "id", "age", "reason", "detail"])
    if sys.stdout.isatty() and totals:
        click.echo()
        table([asdict(total) for total in totals], TOTAL_COLUMNS)
        click.echo(f"{len(rows)} of {sum(total.count for total in totals)} shown.")


@quarantine.command()
@click.argument("name", metavar="ID|USER")
@kind_option
@click.option("--reveal", is_flag=True, help="Also what is sealed: personal data. Needs SUBKEEPER_SECRET_KEY.")
@json_option
@click.pass_context
def show(context: click.Context, name: str, kind: str | None, *, reveal: bool, json_wanted: bool) -> None:
    """All about one of them."""
    with explained():
        settings = loaded_for_people(context)
        with _opened(settings) as (_, quarantined):
            found = quarantined.find(name, Kind(kind) if kind else None)
            row = _described(found, timedelta(days=settings.quarantine.expiry_days))
            if reveal:
                row |= revealed(quarantined.revealed(found, Sealer(settings.secret_keys())))
    (json_line if json_wanted else details)(row)


@quarantine.command()
@click.argument("names", metavar="[ID|USER]...", nargs=-1)
@kind_option
@reason_option
@all_option
@click.pass_context
def retry(
    context: click.Context, names: Sequence[str], kind: str | None, reason: str | None, *, everything: bool
) -> None:
    """Give them another chance, once what was wrong is mended.

    A message is published on its topic again, and deleted once nsqd has it; one that is still refused comes back under
    a new number. A profile becomes due at once: Stripe is searched before anything is created. Messages need
    SUBKEEPER_SECRET_KEY.
    """
    chosen = choose(names, kind, reason, everything=everything)
    outcome = Outcome()
    with explained():
        settings = loaded_for_people(context)
        with _opened(settings) as (_, quarantined), open_publisher(settings, seeded()) as publisher:
            apply(
                quarantined,
                names,
                chosen,
                lambda ids: quarantined.retry_messages(ids, publisher, Sealer(settings.secret_keys()), outcome),
                lambda users: quarantined.retry_profiles(users, outcome),
            )
    _tell(outcome, "published again", "due again", reason)


@quarantine.command()
@click.argument("names", metavar="[ID|USER]...", nargs=-1)
@kind_option
@reason_option
@all_option
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_context
def drop(
    context: click.Context, names: Sequence[str], kind: str | None, reason: str | None, *, everything: bool, yes: bool
) -> None:
    """Give them up for good.

    A message is deleted. A profile is forgotten, unless its user has had a customer at Stripe; a later message or
    backfill brings it back as a new one.
    """
    chosen = choose(names, kind, reason, everything=everything)
    outcome = Outcome()
    with explained():
        settings = loaded_for_people(context)
        with _opened(settings) as (_, quarantined):
            if not yes and not _confirmed(count(quarantined, names, chosen)):
                return
            apply(
                quarantined,
                names,
                chosen,
                lambda ids: quarantined.drop_messages(ids, outcome),
                lambda users: quarantined.drop_profiles(users, outcome),
            )
    _tell(outcome, "dropped", "dropped", reason)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Any, Quarantine]]:
    with open_database(settings, "quarantine") as database:
        yield database, Quarantine(database)


def _confirmed(counts: Mapping[str, int]) -> bool:
    """Whether a person agrees, who is told how many it is about; False where there is nothing. Aborts at a no."""
    if not any(counts.values()):
        click.echo("Nothing to drop: none is in quarantine.")
        return False
    what = " and ".join(counted(number, noun) for noun, number in counts.items() if number)
    confirm(f"Drop {what} for good?")
    return True


def _tell(outcome: Outcome, messages: str, profiles: str, reason: str | None) -> None:
    counts = counted(outcome.messages, "message"), counted(outcome.profiles, "profile")
    click.echo(f"{counts[0]} {messages}, {counts[1]} {profiles}")
    if reason is not None and not (outcome.messages or outcome.profiles or outcome.failed):
        click.echo("subkeeper: none is there for that reason; `quarantine list --totals` tells which are", err=True)
    for name, why in outcome.failed.items():
        click.echo(f"subkeeper: {shown(name)}: {why}", err=True)
    if outcome.failed:
        sys.exit(FAILED)


def _described(found: KeptMessage | LedgerRow, kept_for: timedelta) -> dict[str, object]:
    if isinstance(found, KeptMessage):
        return {"kind": "message", **_fields(found, MESSAGE_FIELDS)}
    expires = found.quarantined_at + kept_for if found.quarantined_at and found.profile_kept else None
    return {"kind": "profile", **_fields(found, PROFILE_FIELDS), "profile_expires_at": expires}


def _fields(found: object, names: Sequence[str]) -> dict[str, object]:
    return {name: getattr(found, name) for name in names}


quarantine.add_command(unopenable)

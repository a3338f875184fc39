"""`subkeeper events`."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import click

from worker.cli.common import FAILED, explained, loaded_for_people, seeded
from worker.cli.output import age, counted, details, json_line, shown, since, table
from worker.cli.tables import timeline
from worker.domain.event import TYPES
from worker.errors import SubkeeperError
from worker.events.replaying import Replayed
from worker.runtime import replaying
from worker.runtime.replaying import Shown
from worker.store.event_list import Chosen

COLUMNS = ["event", "age", "type", "object", "outcome"]
NOT_DONE = {"refused", "gone"}
EVENT_ID = re.compile(r"evt_\w+", re.ASCII)

since_option = click.option(
    "--since", type=age, metavar="TIME", default="1d", show_default=True, help="Created since so long ago: 10m, 2h, 3d."
)
type_option = click.option("--type", "kind", metavar="TYPE", type=click.Choice(TYPES), help="Only of this type.")
user_option = click.option("--user", metavar="USER", help="Only about what this user has at Stripe.")
json_option = click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line.")


def _event_ids(
    _context: click.Context, _argument: click.Parameter, given: str | tuple[str, ...]
) -> str | tuple[str, ...]:
    """What can't be an id of Stripe's isn't asked for."""
    for each in (given,) if isinstance(given, str) else given:
        if not EVENT_ID.fullmatch(each):
            raise click.BadParameter(f"{each!r} is not an event's id, such as evt_1Mr3I22eZvKYlo2C.")
    return given


@click.group()
def events() -> None:
    """Stripe's events: what was heard, and what became of each.

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed.
    """


@events.command("list")
@since_option
@type_option
@user_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Skip so many.")
@json_option
@click.pass_context
def list_(
    context: click.Context, since: timedelta, kind: str | None, user: str | None, limit: int, offset: int, *,
    json_wanted: bool,
) -> None:  # fmt: skip
    """Events that were heard, the newest first."""
    with explained():
        settings = loaded_for_people(context)
        found = replaying.heard(settings, user, Chosen(since, kind), limit=limit, offset=offset)
    if json_wanted:
        for row in found:
            json_line(row._asdict())
        return
    table([_short(row._asdict()) for row in found], COLUMNS)


@events.command(short_help="What an event says, what became of it, and its row.")
@click.argument("event", metavar="EVENT", callback=_event_ids)
@json_option
@click.pass_context
def show(context: click.Context, event: str, *, json_wanted: bool) -> None:
    """An event as Stripe has it, in the fields that we keep; what became of it; and the row that it is about.

    Nothing personal is shown. Stripe keeps events for 30 days.
    """
    with explained():
        settings = loaded_for_people(context)
        found = replaying.show(settings, event, seeded())
        if found.event is None and found.heard is None:
            raise SubkeeperError(f"no event {shown(event)!r}, neither here nor at Stripe")
    if json_wanted:
        json_line(_described(found))
        return
    for number, (name, part) in enumerate(_described(found).items()):
        click.echo(("\n" if number else "") + name.replace("_", " "))
        if part is None:
            click.echo("  none")
        else:
            details({f"  {key}": value for key, value in _flat(part)})


@events.command(short_help="Have events taken in again, as if heard first now.")
@click.argument("ids", metavar="[EVENT]...", nargs=-1, callback=_event_ids)
@click.option("--since", type=age, metavar="TIME", help="Those that were heard and created since so long ago.")
@type_option
@user_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Of them, the newest.")
@click.option("--dry-run", is_flag=True, help="Tell what would become of each, and of its row; publish nothing.")
@json_option
@click.pass_context
def replay(
    context: click.Context, ids: Sequence[str], since: timedelta | None, kind: str | None, user: str | None, limit: int,
    *, dry_run: bool, json_wanted: bool,
) -> None:  # fmt: skip
    """Have events taken in again, as if they were heard for the first time.

    Each is fetched from Stripe and published; the workers take it in by the same rules, so that nothing goes back in
    time. It costs a read of Stripe for each, and in a dry run one more for each that would be asked for. Needs
    SUBKEEPER_SECRET_KEY.

    Exit codes: 0 done; 1 failed, or not for all; 2 the settings or the command line must be changed.
    """
    if bool(ids) == (since is not None):
        raise click.UsageError("Say which: either name them, or give --since (with --type, --user).")
    if ids and (kind is not None or user is not None):
        raise click.UsageError("--type and --user choose among those of --since; named events are all replayed.")
    with explained():
        settings = loaded_for_people(context)
        if since is not None:
            found = replaying.heard(settings, user, Chosen(since, kind), limit=limit)
            ids = [each.stripe_event_id for each in found]
            if len(ids) == limit:
                click.echo(f"Only the newest {limit}: narrow it, or raise --limit.", err=True)
        told = replaying.replay(settings, list(dict.fromkeys(ids)), seeded(), dry_run=dry_run, say_cost=_say_cost)
        outcomes = _tell(told, dry_run=dry_run, json_wanted=json_wanted)
    if outcomes.keys() & NOT_DONE:
        sys.exit(FAILED)


def _say_cost(reads: int) -> None:
    click.echo(f"Stripe is asked {counted(reads, 'time')}.", err=True)


def _tell(told: Iterator[Replayed], *, dry_run: bool, json_wanted: bool) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for each in told:
        outcomes[each.outcome] += 1
        if json_wanted:
            json_line(_as_object(each))
        elif dry_run or each.outcome != "published":
            about = [each.stripe_subscription_id] if each.stripe_subscription_id is not None else []
            _line([each.event_id, each.type or "-", each.outcome, *about])
            for name, ours, theirs in each.differences:
                click.echo(f"    {name}: {shown(ours)} → {shown(theirs)}")
    if not json_wanted:
        summed = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        click.echo(f"{counted(outcomes.total(), 'event')}{': ' if summed else ''}{summed}")
    return outcomes


def _line(words: Sequence[str]) -> None:
    """One line; on a terminal that is narrower, what doesn't fit stands below."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in timeline([(words, "")], width):
        click.echo(line)


def _as_object(each: Replayed) -> dict[str, object]:
    return {
        "stripe_event_id": each.event_id,
        "type": each.type,
        "outcome": each.outcome,
        "stripe_subscription_id": each.stripe_subscription_id,
        "differences": {name: {"before": before, "after": after} for name, before, after in each.differences},
    }


def _short(row: Mapping[str, object]) -> dict[str, object]:
    return {
        **row, "event": row["stripe_event_id"], "age": since(row["created"]), "object": row["object_id"],
    }  # fmt: skip


def _described(found: Shown) -> dict[str, dict[str, object] | None]:
    event, row = found.event, found.row
    return {
        "at_stripe": None if event is None else {
            "id": event.id, "type": event.type, "created": event.created, "api_version": event.api_version,
            "livemode": event.livemode, "object": event.object, "previous": event.previous,
        },
        "heard": None if found.heard is None else found.heard._asdict(),
        "row_now": None if row is None else {
            "stripe_subscription_id": row.id, "user_id": row.user_id, **row.columns(), "version": row.version,
            "seen_from": row.seen_from, "seen_to": row.seen_to,
        },
    }  # fmt: skip


def _flat(part: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    """Nested fields by their path."""
    for name, value in part.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        elif isinstance(value, list):
            yield from _flat({str(number): each for number, each in enumerate(value)}, f"{path}.")
        else:
            yield path, value

"""`subkeeper explain`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from datetime import timedelta

import click

from worker.cli.common import explained, loaded_for_people
from worker.cli.output import age, json_line, shown, table
from worker.cli.tables import timeline
from worker.runtime.explaining import Entry
from worker.runtime.explaining import explain as explain_user

COLUMNS = ["time", "what", "about", "detail"]


@click.command()
@click.argument("user")
@click.option(
    "--since", type=age, metavar="TIME", default="7d", show_default=True,
    help="Events and changes of so long: 10m, 2h, 30d.",
)  # fmt: skip
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line.")
@click.pass_context
def explain(context: click.Context, user: str, since: timedelta, *, json_wanted: bool) -> None:
    """Why a user's row is what it is: all that happened, in its order.

    The message, what Stripe was asked and with which idempotency keys, the changes that were asked for, Stripe's events
    and what became of each, what the row changed in and why, and what waits to be asked. Nothing personal. Stripe isn't
    asked: `verify --user` tells what it says now.

    Exit codes: 0 done; 1 failed, or no such user; 2 the settings or the command line must be changed.
    """
    with explained():
        settings = loaded_for_people(context)
        entries = explain_user(settings, user, since)
    if json_wanted:
        for each in entries:
            json_line({"at": each.at, "what": each.what, "about": each.about, **each.fields})
        return
    if not sys.stdout.isatty():
        table([_row(each) for each in entries], COLUMNS)
        return
    told = [([shown(each.at), each.what, *([each.about] if each.about else [])], _detail(each)) for each in entries]
    for line in timeline(told, shutil.get_terminal_size().columns):
        click.echo(line)


def _row(each: Entry) -> Mapping[str, object]:
    return {"time": each.at, "what": each.what, "about": each.about, "detail": _detail(each)}


def _detail(each: Entry) -> str:
    return "; ".join(f"{name}: {_shown(value)}" for name, value in each.details())


def _shown(value: object) -> str:
    return " ".join(map(shown, value)) if isinstance(value, list) else shown(value)

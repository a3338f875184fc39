"""`subkeeper stats`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from worker.cli.common import FAILED, explained, loaded_for_people
from worker.cli.output import details, json_line, table
from worker.domain.stats import Count
from worker.runtime.counting import count, recount

COLUMNS = ["plan", "status", "canceling", "trial ends", "counted", "rows"]

LABELS = {"trials_ending": "trials ending within 7 days"}


@click.command()
@click.option("--check", is_flag=True, help="Count every row, and compare.")
@click.option("--repair", is_flag=True, help="Count every row, and correct what was counted otherwise.")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON; differences one object a line.")
@click.pass_context
def stats(context: click.Context, *, check: bool, repair: bool, json_wanted: bool) -> None:
    """How many subscriptions there are, as our rows have them.

    Told without counting: the database keeps the numbers with each statement that writes subscriptions. --check reads
    every row instead, beside whatever is written meanwhile, and tells what was counted otherwise.

    Exit codes: 0 done, and no difference; 1 failed, or there are differences; 2 the settings or the command line must
    be changed.
    """
    with explained():
        settings = loaded_for_people(context)
        if not check and not repair:
            told = asdict(count(settings))
            if json_wanted:
                json_line(told)
            else:
                _tell(told)
            return
        found = [_difference(*each) for each in recount(settings, correct=repair)]
    if json_wanted:
        for each in found:
            json_line(each)
    elif found:
        table([{name.replace("_", " "): value for name, value in each.items()} for each in found], COLUMNS)
    click.echo(_verdict(len(found), repaired=repair), err=True)
    if found and not repair:
        sys.exit(FAILED)


def _tell(told: dict[str, object]) -> None:
    flat: dict[str, object] = {}
    for name, value in told.items():
        if isinstance(value, dict):
            flat |= {f"{name.removeprefix('by_')} {each}": count for each, count in value.items()}
        else:
            flat[LABELS.get(name, name)] = value
    details(flat)


def _difference(counted: Count, rows: int) -> dict[str, object]:
    return {
        "plan": counted.plan,
        "status": counted.status,
        "canceling": counted.canceling,
        "trial_ends": counted.trial_end_day.isoformat() if counted.trial_end_day else None,
        "counted": counted.subscriptions,
        "rows": rows,
    }


def _verdict(differences: int, *, repaired: bool) -> str:
    if not differences:
        return "subkeeper: every subscription is counted right"
    kinds = "one kind" if differences == 1 else f"{differences} kinds"
    if repaired:
        return f"subkeeper: {kinds} of subscriptions had been miscounted; corrected"
    return f"subkeeper: {kinds} of subscriptions miscounted; --repair corrects that"

"""`subkeeper verify`."""

from __future__ import annotations

import sys

import click

from worker.cli.common import FAILED, explained, loaded_for_people, seeded
from worker.cli.verify_view import Report, watching
from worker.events.verifying import Walked
from worker.runtime.verifying import verify as verify_all


@click.command()
@click.option("--repair", is_flag=True, help="Have what differs fetched from Stripe again, as an event would.")
@click.option("--user", "users", metavar="USER", multiple=True, help="Only this user; may be repeated.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object a line; the last is the summary.")
@click.pass_context
def verify(context: click.Context, users: tuple[str, ...], *, repair: bool, json_wanted: bool) -> None:
    """Does every row say what Stripe says?

    Walks through all subscriptions at Stripe and all rows, and tells each difference, field by field, charges too. What
    is on its way is looked at again before it is told. Nothing is written without --repair; with it, a difference is
    written as any fetch's answer is, or left to the workers: nothing goes back in time, and no deleted customer is
    revived. What no fetch can mend is for a person.

    Exit codes: 0 no difference, or all were mended; 1 failed, or there are differences; 2 the settings or the command
    line must be changed; 130 interrupted.
    """
    report = Report(json_wanted=json_wanted, repair=repair)
    walked = Walked()

    def keep(found: Walked) -> None:
        nonlocal walked
        walked = found

    with explained():
        settings = loaded_for_people(context)
        with watching() as view:
            for finding in verify_all(settings, users, view, seeded(), repair=repair, say_cost=view.costs, walked=keep):
                view.tell(lambda found=finding: report.tell(found))  # type: ignore[misc]  # its type follows from that
        report.end(walked)
    if report.left:
        sys.exit(FAILED)

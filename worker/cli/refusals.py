"""What the API would refuse, in one form wherever a command is refused it: the API's constant and words, and where."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from worker.cli.common import FAILED, explained
from worker.cli.output import json_line
from worker.domain.account_changes import ChangeRefused
from worker.domain.accounts import ApiError
from worker.web.api.change_views import problem_of

OPTIONS = {"stripe_source": "--card", "canceling": "--undo"}
"""The options that are not named as the fields of a change that they give."""


@contextmanager
def refused_as_by_the_api(*, json_wanted: bool) -> Iterator[None]:
    """`explained`. With `json_wanted` a refusal is an object on stdout, too: `{"problem": {…}}`, as the API tells it,
    but for what is HTTP's."""
    with explained():
        try:
            yield
        except ChangeRefused as refused:
            if json_wanted:
                problem = problem_of(refused.code, refused.detail, refused.errors)
                json_line({"problem": problem.model_dump(exclude={"type", "title", "status"})})
            say_refusal(refused.code, refused.detail, refused.errors)
            sys.exit(FAILED)


def say_refusal(code: str, detail: str, errors: Sequence[ApiError], applied: Sequence[str] = ()) -> None:
    """The line on stderr. The errors' pointers are into a change."""
    where = "".join(f"; {at(each.pointer.removeprefix('/'), each.code)}" for each in errors)
    done = f"; done: {', '.join(applied)}" if applied else ""
    click.echo(f"subkeeper: {code}: {detail}{where}{done}", err=True)


def at(field: str, what: str) -> str:
    """What is wrong with a field of a change, by its option."""
    return f"{OPTIONS.get(field, f'--{field}')}: {what}" if field else what

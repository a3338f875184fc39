"""What all commands share: settings, logging, errors as one line, exit codes."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Literal, TextIO

import click

from worker.domain.profile import is_user_id
from worker.domain.text import visible
from worker.errors import AccessRefused, Misconfigured, SubkeeperError, TryLater, Unavailable
from worker.settings.model import Settings
from worker.telemetry import configure_logging, install_crash_hooks

FAILED, BAD_SETTINGS, FOUND_NEW, INTERRUPTED = 1, 2, 3, 130
"""Exit codes: 2 where a person must change a setting or the command line, 3 where `--fail-if-new` asked for it, 130
after Ctrl-C, 1 where something else went wrong."""

FIXES = {
    "nsqd": "Start it, or correct nsq.nsqd_tcp_addresses and nsq.nsqd_http_addresses",
    "nsqlookupd": "Start it, or correct nsq.lookupd_http_addresses",
}
"""What to do about a dependency that is away, by its name; what Postgres says of itself has its fix."""

SILENCE = 3.0
"""Seconds after which somebody who waits at a terminal is told what for."""

LATER = "Run the same command again in a while; `subkeeper doctor` says what is not well"


def an_id(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """Refuses what can be no user's, project's or customer's id, as the API does: a callback of click's."""
    if given is not None and not is_user_id(given):
        raise click.BadParameter("It is empty, too long, or holds a NUL.")
    return given


user_argument = click.argument("user", callback=an_id)


@contextmanager
def explained() -> Iterator[None]:
    """Our errors as one line on stderr and an exit code, never as a traceback."""
    try:
        yield
    except (Misconfigured, AccessRefused) as error:
        for line in str(error).splitlines():
            click.echo(f"subkeeper: {line}", err=True)
        sys.exit(BAD_SETTINGS)
    except SubkeeperError as error:
        click.echo(f"subkeeper: {in_full(error)}", err=True)
        sys.exit(FAILED)


def in_full(error: Exception) -> str:
    """What is wrong, with what to do where the error itself, which workers log too, leaves that open."""
    if isinstance(error, Unavailable):
        fix = None if error.fix else FIXES.get(error.dependency)
    else:
        fix = LATER if isinstance(error, TryLater) else None
    return f"{error}. {fix}" if fix else str(error)


def loaded(context: click.Context, logs: TextIO | None) -> Settings:
    """The settings of this invocation, with logging set up to keep their secrets out."""
    settings = Settings.load(context.find_root().obj, os.environ)
    configure_logging(settings.log, logs, settings.secret_values())
    install_crash_hooks()
    return settings


def loaded_for_people(context: click.Context, level: Literal["warning", "error"] = "error") -> Settings:
    """The settings of a command that somebody watches. What is logged goes to stderr: only errors, unless the command
    names another `level`, since what fails is said."""
    settings = Settings.load(context.find_root().obj, os.environ)
    form = "console" if sys.stderr.isatty() else settings.log.format
    quiet = settings.log.model_copy(update={"level": level, "format": form})
    configure_logging(quiet, sys.stderr, settings.secret_values())
    install_crash_hooks()
    return settings


def seeded() -> random.Random:
    """Chance for jitter. Not for secrets, so not of the cryptographic kind."""
    return random.Random()  # noqa: S311 - jitter


def confirm(question: str) -> None:
    """Goes on only after a yes. Raises `click.UsageError` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: give --yes.")
    click.confirm(question, abort=True)


@contextmanager
def in_the_making(user: str) -> Iterator[None]:
    """While a change is made: says on a terminal that it takes long, where it does, and of one that is interrupted,
    that this doesn't take back what was asked for."""
    tells = f"`subkeeper explain {visible(user)}` tells"
    told = f"subkeeper: waiting, for a minute at most, for Stripe or for what was asked for before; {tells}"
    slow = Timer(SILENCE, click.echo, [told], {"err": True})
    slow.daemon = True
    if sys.stderr.isatty():
        slow.start()
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"subkeeper: interrupted; what was asked for may go on in a web process: {tells}", err=True)
        raise
    finally:
        slow.cancel()

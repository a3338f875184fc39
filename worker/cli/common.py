"""What all commands share: settings, logging, errors as one line, exit codes."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from worker.errors import AccessRefused, Misconfigured, SubkeeperError
from worker.settings import Settings
from worker.telemetry import configure_logging, install_crash_hooks

FAILED, BAD_SETTINGS, FOUND_NEW, INTERRUPTED = 1, 2, 3, 130
"""Exit codes: 2 where a person must change a setting or the command line, 3 where `--fail-if-new` asked for it, 130
after Ctrl-C, 1 where something else went wrong."""


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
        click.echo(f"subkeeper: {error}", err=True)
        sys.exit(FAILED)


def loaded(context: click.Context, logs: TextIO | None) -> Settings:
    """The settings of this invocation, with logging set up to keep their secrets out."""
    settings = Settings.load(context.find_root().obj, os.environ)
    configure_logging(settings.log, logs, settings.secret_values())
    install_crash_hooks()
    return settings


def loaded_for_people(context: click.Context) -> Settings:
    """The settings of a command that somebody watches. Only errors are logged (to stderr), since what fails is said."""
    settings = Settings.load(context.find_root().obj, os.environ)
    form = "console" if sys.stderr.isatty() else settings.log.format
    quiet = settings.log.model_copy(update={"level": "error", "format": form})
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

"""The command itself."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from worker.cli.common import FAILED, INTERRUPTED
from worker.version import VERSION

COMMANDS: Mapping[str, tuple[str, str]] = {
    "backfill": ("worker.cli.backfill", "Replay profiles: find and heal what is missing."),
    "config": ("worker.cli.config", "Look at the settings."),
    "db": ("worker.cli.db", "Look after the database's schema."),
    "demo": ("sandbox.demo.commands", "Watch it come out right: signups, and two months of lives."),
    "doctor": ("worker.cli.doctor", "Would a worker do its work here? Each part, with the fix."),
    "erase": ("worker.cli.erase", "Erase a user, at Stripe and here, for good."),
    "events": ("worker.cli.events", "Stripe's events: what was heard, and what became of each."),
    "explain": ("worker.cli.explain", "Why a user's row is what it is: a timeline."),
    "owners": ("worker.cli.owners", "Who owns a customer at Stripe, and as what."),
    "provisioning": ("worker.cli.provisioning", "The ledger: what was asked of Stripe, and the answer."),
    "publish": ("worker.cli.publish", "Publish one profile."),
    "quarantine": ("worker.cli.quarantine", "Messages and profiles that wait for a person."),
    "run": ("worker.cli.run", "Run a worker until SIGTERM."),
    "sandbox": ("sandbox.commands", "Real parts and a Stripe of its own, to try it on."),
    "setup": ("worker.cli.setup", "Create what is missing at Stripe, NSQ and Postgres."),
    "stats": ("worker.cli.stats", "How many subscriptions there are, by plan and status."),
    "subscriptions": ("worker.cli.subscriptions", "Read and change users' subscriptions."),
    "token": ("worker.cli.token", "Make a token for an admin of the API."),
    "verify": ("worker.cli.verify", "Does every row say what Stripe says? --repair mends."),
}
"""Each command's module, which is imported when it runs and has it under its own name; and what it does, in a line."""

EXIT_CODES = "Exit codes: "
SANDBOX = "sandbox."


class Root(click.Group):
    """Imports the one command that is asked for. Ends without a traceback where its output can't be written; and at a
    Ctrl-C without a word, with 130 (click would say "Aborted!" and exit with 1)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in self.commands and cmd_name in COMMANDS:
            module, _ = COMMANDS[cmd_name]
            command: click.Command = getattr(_imported(module), cmd_name)
            if not gc.isenabled():  # by `worker.__main__`; what was imported stays, and no collection looks at it again
                gc.freeze()
                gc.enable()
            if not module.startswith(SANDBOX):  # that has a configuration of its own
                take_config(command)
            self.add_command(command)
            pass_exit_codes_on(self)
        return self.commands.get(cmd_name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands' names out of the table: none of them is imported for that."""
        named = [CompletionItem(name, help=told) for name, (_, told) in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def main(self, *args: Any, **extra: Any) -> Any:
        _replace_closed_streams()
        _buffer_output()
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if not _is_output_lost():
                raise
            click.echo(f"subkeeper: standard output can't be written: {error.strerror}", err=True)
            sys.exit(FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def _imported(module: str) -> Any:
    """Raises `ClickException` where it is the sandbox, whose packages are not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not module.startswith(SANDBOX):
            raise
        fix = "pip install 'subkeeper[sandbox]'"
        raise click.ClickException(f"the sandbox needs {error.name}, which is not installed: {fix}") from error


def _replace_closed_streams() -> None:
    """Python has None for a standard stream that was closed (`>&-`): here each use of standard output then fails."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for good


def _buffer_output() -> None:
    """Under PYTHONUNBUFFERED, Python forgets what it could not write; a buffer keeps it for `_is_output_lost`."""
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        sys.stdout = open(  # noqa: SIM115 - for good
            sys.stdout.fileno(), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False
        )


def _is_output_lost() -> bool:
    """Whether it is standard output that failed: what it still holds fails again. That is then dropped, so that Python
    doesn't try once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


CONFIG = click.Path(path_type=Path)


def take_config(command: click.Command) -> None:
    """Lets `--config` stand after `command` and its subcommands, too."""
    option = click.Option(
        ["--config"],
        type=CONFIG,
        metavar="FILE",
        expose_value=False,
        callback=_keep_config,
        help="The settings, as TOML; it may stand before the command, too.",
    )
    command.params.append(option)
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        take_config(inner)


def _keep_config(context: click.Context, _option: click.Parameter, config: Path | None) -> None:
    root = context.find_root()
    if config is not None and root.obj not in {None, config}:
        raise click.UsageError("--config is given twice.")
    root.obj = config or root.obj


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="subkeeper")
@click.option(
    "--config",
    type=CONFIG,
    metavar="FILE",
    help="The settings, as TOML (else SUBKEEPER_CONFIG; else defaults and the environment).",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Keeps subscriptions and Stripe in step: every profile gets its subscription, once.

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed; 130 interrupted.
    """
    context.obj = config


def pass_exit_codes_on(group: click.Group) -> None:
    """Every command below says its exit codes in its help: its own, else its group's."""
    said = (group.help or "").partition(EXIT_CODES)[2] or (group.epilog or "").removeprefix(EXIT_CODES)
    for command in group.commands.values():
        if EXIT_CODES not in (command.help or ""):
            command.epilog = EXIT_CODES + said
        if isinstance(command, click.Group):
            pass_exit_codes_on(command)

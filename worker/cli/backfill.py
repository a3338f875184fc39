"""`subkeeper backfill`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import click

from worker.backfill.back_pressure import Stalled
from worker.backfill.progress import Progress, ProgressFile, Rejects, UnusableProgress, Users, reject_file_for
from worker.backfill.publishing import Keeping
from worker.backfill.records import Format, read_records
from worker.cli.backfill_view import failure, in_words, summary, watching
from worker.cli.common import BAD_SETTINGS, FOUND_NEW, INTERRUPTED, explained, in_full, loaded_for_people, seeded
from worker.cli.output import age, json_line
from worker.errors import AccessRefused, SubkeeperError, TryLater, Unavailable
from worker.runtime.backfilling import Manner, first_progress, run_backfill
from worker.runtime.operations import message_shape
from worker.settings.model import Settings
from worker.store.provisioning.census import Census

STDIN = Path("-")


class Interrupts:
    """Ctrl-C as KeyboardInterrupt: at once, and again at the next `sleep` where Python has swallowed that, as it does
    in a finalizer."""

    def __init__(self) -> None:
        self._asked = False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
            signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True
        raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        if self._asked:
            raise KeyboardInterrupt
        time.sleep(seconds)


@click.command()
@click.argument(
    "source", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), help="Told by the first character if left out.")
@click.option("--dry-run", is_flag=True, help="Validate everything and compare it with the ledger; publish nothing.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where bad lines go (personal data: readable by its owner only). [default: FILE.rejects; for - a new file "
    "subkeeper-backfill-TIME-….rejects here, or in TMPDIR]",
)
@click.option("--resume-after", type=click.IntRange(min=0), metavar="N", help="Of stdin, skip the first N lines.")
@click.option("--restart", is_flag=True, help="Begin anew although a killed run's progress is there.")
@click.option(
    "--max-depth",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Pause while more messages wait in the backfill's channel; 0 for no bound.",
)
@click.option("--wait", is_flag=True, help="Return only once the workers have absorbed everything.")
@click.option("--fail-if-new", is_flag=True, help="Exit 3 if profiles were newly found (implies --wait).")
@click.option("--allow-empty", is_flag=True, help="An input without any profile is fine; else it fails.")
@click.option(
    "--patience",
    type=age,
    metavar="TIME",
    default="10m",
    show_default=True,
    help="Give up (exit 1) when a full channel hasn't moved for so long.",
)
@click.option("--json", "json_wanted", is_flag=True, help="What it came to, as one JSON object on stdout.")
@click.pass_context
def backfill(
    context: click.Context, source: Path, *, form: str | None, dry_run: bool, rejects: Path | None,
    resume_after: int | None, restart: bool, max_depth: int, wait: bool, fail_if_new: bool, allow_empty: bool,
    patience: timedelta, json_wanted: bool,
) -> None:  # fmt: skip
    """Publish many profiles again, to find and heal what is missing.

    FILE is NDJSON (a message a line, in the configured shape) or CSV with a header (id, email, name, created_at; others
    are ignored). For users whom the ledger knows nothing changes, so it is safe to repeat. From Postgres, in bash:

    \b
      set -o pipefail
      PGTZ=UTC psql -c "COPY (SELECT id, email, name,
          created_at::timestamptz FROM profiles)
        TO STDOUT (FORMAT csv, HEADER)" | subkeeper backfill -

    pipefail makes the line fail where psql does. The cast and PGTZ give created_at its offset, whether the column has a
    time zone or holds UTC without one.

    It goes to a topic of its own, behind live signups. After a kill the same command goes on where it was: until the
    end, FILE.subkeeper-progress holds how far it got. Bad lines are told by number on stderr and kept, and don't stop
    it, but it fails where there is no good one, or no line at all.

    Exit codes: 0 done; 1 failed; 2 the settings or the command line must be changed; 3 newly found (--fail-if-new); 130
    interrupted.
    """
    if resume_after is not None and source.is_file():
        raise click.UsageError("--resume-after is for stdin: the progress of a FILE is kept beside it.")
    if rejects is not None and source.is_file() and rejects.exists() and rejects.samefile(source):
        raise click.UsageError("--rejects would overwrite the input.")
    interrupts = Interrupts()
    manner = Manner(dry_run, max_depth, wait or fail_if_new, patience.total_seconds(), interrupts.sleep)
    with explained():
        with _files_explained():
            settings = loaded_for_people(context)
            progress_file = _progress_file(source, restart=restart) if not dry_run else None
            progress = _progress(settings, progress_file, resume_after or 0)
            if rejects is None and not dry_run:
                rejects = reject_file_for(source)
            with _resumable(source, progress, rejects):
                census = _run(settings, source, form, rejects, progress, progress_file, manner)
            if progress_file is not None:
                progress_file.remove()
        _tell(progress, census, rejects, dry_run=dry_run, json_wanted=json_wanted)
        went_on = resume_after is not None
        if why := failure(progress, census, wait=manner.wait and not dry_run, allow_empty=allow_empty or went_on):
            raise SubkeeperError(why)
    if fail_if_new and (census.absent if dry_run else census.newly_found):
        sys.exit(FOUND_NEW)


def _run(
    settings: Settings, source: Path, form: str | None, rejects: Path | None, progress: Progress,
    progress_file: ProgressFile | None, manner: Manner,
) -> Census:  # fmt: skip

    with ExitStack() as stack:
        stream: BinaryIO = sys.stdin.buffer
        if source != STDIN:
            stream = stack.enter_context(source.open("rb"))
        records = read_records(stream, message_shape(settings), Format(form) if form else None)
        refused = None
        if rejects is not None:
            refused = stack.enter_context(Rejects(rejects, records.header, progress.rejects_bytes))
        users = Users()
        stack.callback(users.close)

        def save(progress: Progress) -> None:
            if progress_file is not None:  # of stdin no progress is kept
                progress_file.save(progress)
            manner.sleep(0)

        save(progress)  # of an input that can be read: its beginning is remembered
        keeping = Keeping(refused, users, save)
        size = source.stat().st_size if source.is_file() else None
        view = stack.enter_context(watching(size, has_rejects=rejects is not None, dry_run=manner.dry_run))
        return run_backfill(settings, records, progress, manner, keeping, view, seeded())


def _progress_file(source: Path, *, restart: bool) -> ProgressFile | None:
    if not source.is_file():
        return None
    found = ProgressFile(source.with_name(source.name + ".subkeeper-progress"))
    if restart:
        found.remove()
    return found


def _progress(settings: Settings, file: ProgressFile | None, after_line: int) -> Progress:
    """A killed run's, else a new one."""
    saved = file.load() if file else None
    if file is None or saved is None:
        return first_progress(settings, after_line)
    if saved.topic != settings.nsq.backfill_topic:
        raise UnusableProgress(f"{file.path} is of a backfill onto {saved.topic}; begin anew with --restart")
    if saved.line:
        click.echo(f"Going on after line {saved.line}, where an earlier run ended.", err=True)
    return saved


@contextmanager
def _resumable(source: Path, progress: Progress, rejects: Path | None) -> Iterator[None]:
    """What breaks it off in the middle is told with how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"subkeeper: interrupted. {_how_to_go_on(source, progress, rejects)}", err=True)
        sys.exit(INTERRUPTED)
    except (Unavailable, TryLater, Stalled, OSError) as error:
        said = [_said(error).rstrip("."), *([_ELSEWHERE] if _is_of_what_is_kept(error, source) else [])]
        told = ". ".join([*said, _how_to_go_on(source, progress, rejects)])
        if isinstance(error, AccessRefused):
            click.echo(f"subkeeper: {told}", err=True)
            sys.exit(BAD_SETTINGS)
        raise SubkeeperError(told) from error


_ELSEWHERE = "Mend that, or give the input on stdin: then bad lines are kept in this folder, or in TMPDIR"


def _is_of_what_is_kept(error: Exception, source: Path) -> bool:
    """Whether it is about a file that is written beside the input."""
    return isinstance(error, OSError) and source.is_file() and str(error.filename or "").startswith(f"{source}.")


def _how_to_go_on(source: Path, progress: Progress, rejects: Path | None) -> str:
    resumed = f"give the same input with --resume-after {progress.line}"
    again = resumed if progress.line and not source.is_file() else "run the same command again"
    done = f"All up to line {progress.line} is done" if progress.line else "No line is done yet"
    kept = f" Bad lines so far are in {rejects}." if rejects is not None and progress.rejected else ""
    return f"{done}; to go on, {again}.{kept}"


@contextmanager
def _files_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SubkeeperError(_said(error)) from error


def _said(error: Exception) -> str:
    return f"{error.filename or 'the input'}: {error.strerror}" if isinstance(error, OSError) else in_full(error)


def _tell(progress: Progress, census: Census, rejects: Path | None, *, dry_run: bool, json_wanted: bool) -> None:
    if json_wanted:
        json_line(summary(progress, census, rejects, dry_run=dry_run))
        return
    for line in in_words(progress, census, dry_run=dry_run):
        click.echo(line)
    if rejects is not None and progress.rejected:
        click.echo(f"Bad lines are in {rejects}: mend them and give them again.")

"""`subkeeper backfill`, put together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.backfill.back_pressure import BackPressure
from worker.backfill.progress import Progress
from worker.backfill.publishing import Backfill, Keeping, Outlet, Watch, await_drained, begin, take_census
from worker.backfill.records import Records
from worker.broker.admin import ChannelDepths, ensure_channel, unfinished
from worker.errors import Misconfigured
from worker.runtime.operations import message_shape, open_database, open_publisher
from worker.settings.model import Settings
from worker.store.provisioning.census import Census


@dataclass(frozen=True, slots=True)
class Manner:
    """How to go about it. `max_depth`: messages; `patience`: seconds without any movement; `sleep` takes seconds."""

    dry_run: bool
    max_depth: int
    wait: bool
    patience: float
    sleep: Callable[[float], None] = time.sleep


def first_progress(settings: Settings, after_line: int = 0) -> Progress:
    """The progress of a backfill that begins now, after that line."""
    with open_database(settings, "backfill") as database:
        return begin(database, settings.nsq.backfill_topic, after_line)


def run_backfill(
    settings: Settings,
    records: Records,
    progress: Progress,
    manner: Manner,
    keeping: Keeping,
    watch: Watch,
    rng: random.Random,
) -> Census:
    """Publishes (unless it is a dry run) what `progress` leaves to do; where the users met then stand in the ledger."""
    nsq = settings.nsq
    with open_database(settings, "backfill") as database, open_publisher(settings, rng) as publisher:
        outlet = Outlet(publisher, nsq.backfill_topic, _pressure(settings, manner, watch))
        if not manner.dry_run:
            ensure_channel(nsq, nsq.backfill_topic, nsq.channel)
        backfill = Backfill(
            (lambda _: None) if manner.dry_run else outlet.send,
            message_shape(settings),
            max_message_bytes=nsq.max_message_bytes,
            keeping=keeping,
            watch=watch,
        )
        backfill.run(records, progress)
        if manner.wait and not manner.dry_run and not keeping.users.is_empty:
            await_drained(
                lambda: _unfinished(settings),
                patience=manner.patience,
                clock=time.monotonic,
                wait=manner.sleep,
                draining=watch.draining,
            )
        return take_census(database, keeping.users, None if manner.dry_run else progress.started_at)


def _pressure(settings: Settings, manner: Manner, watch: Watch) -> BackPressure:
    return BackPressure(
        lambda: _depth(settings),
        manner.max_depth,
        patience=manner.patience,
        clock=time.monotonic,
        wait=manner.sleep,
        paused=watch.paused,
    )


def _depth(settings: Settings) -> int:
    nsq = settings.nsq
    depths = ChannelDepths(nsq, [nsq.backfill_topic]).look()
    if depths.silent:  # a part of the depth is no measure of what the brokers can take
        raise depths.silent[0]
    if not depths.messages:
        raise _unknown(settings, "Set it, or give --max-depth 0 for no bound.")
    return depths.messages[nsq.backfill_topic]


def _unfinished(settings: Settings) -> int:
    left = unfinished(settings.nsq, settings.nsq.backfill_topic, settings.nsq.channel)
    if left is None:
        raise _unknown(settings, "Set it, or don't --wait.")
    return left


def _unknown(settings: Settings, fix: str) -> Misconfigured:
    name = settings.written(("nsq", "nsqd_http_addresses"))
    return Misconfigured(name, "is needed to see how deep the backfill's channel is", fix)

"""What the ops page shows, gathered: of Postgres on a connection or two of its own, and of this process's health."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from worker.accounts.tokens import matching
from worker.domain.doubt import in_doubt
from worker.domain.stats import stats, trials_by_day
from worker.errors import SubkeeperError, TryLater, Unavailable
from worker.runtime.explaining import UserUnknown, story
from worker.settings.kinds import is_loopback
from worker.settings.model import Settings
from worker.store import (
    counts,
    event_cursor,
    event_list,
    outbox,
    processes,
    quarantine_list,
    refreshes,
    told_changes,
)
from worker.store.engine.database import Database, Transaction
from worker.store.engine.looks import Look
from worker.store.event_list import EventCounts
from worker.store.provisioning import backlog, refused
from worker.store.provisioning.backlog import Queues
from worker.telemetry import Health
from worker.web.ops.app import Ops
from worker.web.ops.door import Door
from worker.web.ops.picture import (
    Line,
    Picture,
    Process,
    Profiles,
    Quarantine,
    Shown,
    Subscriptions,
    Work,
)

Value = TypeVar("Value")

FRESH_SECONDS, AWAY_SECONDS = 2.0, 5.0
"""For so long a picture is shown again, however many ask; and while Postgres is away."""

MOST_EVENTS = 50_000
"""Rows of events that are counted of a day: 0.15 s for two of them."""

NEWEST_IN_QUARANTINE = 5

EXPLAINERS = 1
OPS_DATABASE = {"pool_size": 1 + EXPLAINERS, "connect_timeout": 2.0, "statement_timeout": 2.0, "lock_timeout": 1.0}
"""Whoever reads the page takes no connection of anybody's, and waits for nothing long."""


class _Panel(Generic[Value]):
    """What `ask` found last. `shown` is replaced as a whole, so that any thread may read it."""

    def __init__(self, ask: Callable[[Transaction], Value]) -> None:
        self._ask = ask
        self.shown: Shown[Value] = Shown()

    def look(self, database: Database) -> None:
        """Raises `Unavailable`; what else keeps it from being had is told on it."""
        try:
            with database.question() as tx:
                self.shown = Shown(self._ask(tx), datetime.now(UTC))
        except SubkeeperError as problem:
            self.miss(str(problem))
            if isinstance(problem, Unavailable):
                raise

    def miss(self, problem: str) -> None:
        self.shown = self.shown._replace(problem=problem)


class Overview:
    """`openable`: `Sealer.headers` of this process's keys; None: it has none. `clock`: monotonic, in seconds.

    What may be long to count is counted as seldom as that takes (`Look`).
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        database: Database,
        openable: Callable[[], Sequence[bytes]] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._health = health
        self._database = database
        self._clock = clock
        self._openable = openable
        self._due = float("-inf")
        self._looking = threading.Lock()
        self._queues = Queues(openable, clock)
        self._settled = Look[backlog.Settled](clock)
        self._quarantined = Look[Quarantine](clock)
        self._heard = Look[EventCounts](clock)
        self._changes, self._refreshes = Look[outbox.Waiting](clock), Look[refreshes.Backlog](clock)
        self._profiles = _Panel(self._ask_profiles)
        self._quarantine = _Panel(lambda tx: _known(self._quarantined.take(partial(_quarantine, tx))))
        self._subscriptions = _Panel(_subscriptions)
        self._events = _Panel(lambda tx: _known(self._heard.take(partial(event_list.outcomes, tx, MOST_EVENTS))))
        self._standing = _Panel(lambda tx: event_cursor.find(tx, settings.stripe.monthly_reads))
        self._processes = _Panel(_processes)
        self._work = _Panel(self._ask_work)
        self._panels: Sequence[_Panel[Any]] = (
            self._profiles, self._standing, self._processes, self._work, self._subscriptions, self._quarantine,
            self._events,
        )  # fmt: skip

    def look(self) -> Picture:
        """As it is now, or was a moment ago."""
        with self._looking:
            if self._clock() >= self._due:
                self._due = self._clock() + (FRESH_SECONDS if self._look() else AWAY_SECONDS)
        return self._picture()

    def known(self, problem: str) -> Picture:
        return self._picture(problem)

    def explain(self, user_id: str, since: str) -> list[Line]:
        """None of a user whom nobody knows. Raises `SubkeeperError`."""
        days = timedelta(days=int(since.removesuffix("d")))
        try:
            entries = story(self._database, self._settings.namespace, user_id, days)
        except UserUnknown:
            return []
        return [Line(each.at, each.what, each.about, list(each.details())) for each in entries]

    def _look(self) -> bool:
        """Whether Postgres is there: if not, it is asked once, and not for each panel."""
        for number, panel in enumerate(self._panels):
            try:
                panel.look(self._database)
            except Unavailable as away:
                for each in self._panels[number:]:
                    each.miss(str(away))
                return False
        return True

    def _picture(self, problem: str = "") -> Picture:
        def shown(panel: _Panel[Value]) -> Shown[Value]:
            return panel.shown._replace(problem=problem) if problem else panel.shown

        return Picture(
            at=datetime.now(UTC),
            namespace=self._settings.namespace,
            livemode=self._settings.stripe.livemode,
            reasons=self._health.reasons(),
            parts=self._health.parts(),
            profiles=shown(self._profiles),
            quarantine=shown(self._quarantine),
            subscriptions=shown(self._subscriptions),
            events=shown(self._events),
            standing=shown(self._standing),
            processes=shown(self._processes),
            work=shown(self._work),
        )

    def _ask_profiles(self, tx: Transaction) -> Profiles:
        queues = self._queues.state(tx)
        found = self._settled.take(partial(backlog.settled, tx))
        others = sum(each.depth for each in queues.lanes.values()) + (queues.quarantined_rows or 0)
        settled = found.rows if found is not None else None
        is_estimate = found is not None and found.is_estimate
        if settled is not None and is_estimate:
            settled = max(0, settled - others)
        doubt = in_doubt(refused.find(tx))
        said = (
            None if doubt is None else f"{doubt.users} users were refused alike and nobody passed since: {doubt.what}"
        )
        return Profiles(queues, settled, is_estimate, said)

    def _ask_work(self, tx: Transaction) -> Work:
        return Work(
            self._changes.take(partial(outbox.waiting, tx)),
            self._refreshes.take(partial(refreshes.backlog, tx)),
            told_changes.backlog(tx, None if self._openable is None else self._openable()),
        )


class OpsSide:
    """The page with what it is served by. Connects to nothing before it is asked."""

    def __init__(self, settings: Settings, health: Health, openable: Callable[[], Sequence[bytes]] | None) -> None:
        self._closing = ExitStack()
        database = Database(settings.database.model_copy(update=OPS_DATABASE), "subkeeper ops")
        self._closing.callback(database.close)
        executor = ThreadPoolExecutor(1 + EXPLAINERS, thread_name_prefix="ops")
        self._closing.callback(executor.shutdown, wait=False, cancel_futures=True)
        digests = settings.api.admin_tokens
        door = Door(open_here=is_open_here(settings), holder=partial(_holder, digests=digests), clock=time.monotonic)
        view = Overview(settings, health, database, openable)
        self.app = Ops(view, door, executor, has_tokens=bool(digests), explain_command=_explain_command)

    def close(self) -> None:
        self._closing.close()


def is_open_here(settings: Settings) -> bool:
    """Of a live deployment only where somebody says so: not every proxy on this machine can be told from a person."""
    is_wanted = settings.web.ops == "loopback" or (settings.web.ops == "auto" and not settings.stripe.livemode)
    return is_wanted and is_loopback(settings.web.host)


def _known(found: Value | None) -> Value:
    """Of a look that failed, until its next turn: what it found before is shown on."""
    if found is None:
        raise TryLater("could not be counted lately")
    return found


def _holder(token: str, digests: Sequence[str]) -> str | None:
    """As the API's log names them."""
    found = matching(token, digests)
    return None if found is None else f"admin {found[7:15]}"


def _explain_command(user_id: str, since: str) -> str:
    return f"subkeeper explain --since {since} -- {shlex.quote(user_id)}"


def _quarantine(tx: Transaction) -> Quarantine:
    totals = quarantine_list.totals(tx, None, None)
    return Quarantine(totals, quarantine_list.page(tx, None, None, limit=NEWEST_IN_QUARANTINE, offset=0))


def _subscriptions(tx: Transaction) -> Subscriptions:
    found, today = counts.read(tx), datetime.now(UTC).date()
    return Subscriptions(stats(found, today), trials_by_day(found, today))


def _processes(tx: Transaction) -> Sequence[Process]:
    claims = processes.claims(tx).items()
    return sorted((Process(str(each)[:8], claim) for each, claim in claims), key=lambda each: -each.claim.rate)

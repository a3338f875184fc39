"""`subkeeper stats`: how many subscriptions there are, and whether they are counted right."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.domain.stats import Count, Stats, stats
from worker.runtime.operations import open_database
from worker.settings.model import Settings
from worker.store import counts
from worker.store.engine.database import Database, unbind


def counted(database: Database) -> Stats:
    """As the database counts them. Raises `SubkeeperError`."""
    with database.question() as tx:
        found = counts.read(tx)
    return stats(found, datetime.now(UTC).date())


def count(settings: Settings) -> Stats:
    """Raises as `open_database` does."""
    with open_database(settings, "stats") as database:
        return counted(database)


def recount(settings: Settings, *, correct: bool) -> list[tuple[Count, int]]:
    """What the database counts otherwise than its rows are, and how many there are of it; corrected, if asked to.
    Raises as `open_database` does."""
    with open_database(settings, "stats") as database, database.transaction() as tx:
        unbind(tx)
        return counts.miscounted(tx, correct=correct)

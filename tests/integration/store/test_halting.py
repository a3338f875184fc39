"""What is tried while settling is halted: the real ledger, and a clock that the test moves."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.integration.store.conftest import LEASE, NOW, SEALED, new_rows
from worker.domain.deadline import boot_time
from worker.domain.doubt import GRACE
from worker.errors import Misconfigured, SubkeeperError, TryLater, Unavailable
from worker.provisioning.leases import Lease, Leases
from worker.sealing import HEADER_BYTES
from worker.store.engine.database import Database
from worker.store.provisioning import insert
from worker.telemetry.tally import INTERVAL, Tally
from worker.work.halting import HALTED_AFTER, PROBE_INTERVAL, Halting, InDoubt
from worker.work.owner import Ended

REFUSAL = "customers.create status=400"
PASSED, REFUSED = Ended("completed", passed=True, whole=True), Ended("refused", refused=True)


class Everybody:
    """A process's settling: whoever is tried is refused, but those whom `passes` names."""

    def __init__(self, database: Database, longest_pause: float | None = None) -> None:
        self.seconds = 0.0
        self.tried: list[str] = []
        self.passes: set[str] = set()
        self.key: SubkeeperError | None = None
        self.configured = "sk_test_1"
        self.problem: SubkeeperError | None = None
        self.told: list[SubkeeperError | None] = []
        self.database = database
        self.leases = Leases(
            database,
            length=LEASE,
            now=lambda: NOW,
            openable=lambda: [SEALED[:HEADER_BYTES]],
            progress=lambda: None,
        )
        self.halting = Halting(
            self.leases,
            preflight=self._preflight,
            shared_problem=lambda: self.problem,
            report=self.told.append,
            longest_pause=longest_pause,
            key=lambda: self.configured,
            clock=lambda: self.seconds,
        )

    def _preflight(self) -> None:
        if self.key is not None:
            raise self.key

    def settle(self, lease: Lease) -> None:
        row, began = lease.row, boot_time()
        self.tried.append(row.user_id)
        if row.user_id in self.passes:
            execute(self.database, f"DELETE FROM provisionings WHERE user_id = '{row.user_id}'")
            self.halting.heard(PASSED, began)
        else:
            self.leases.refuse(lease, REFUSAL, REFUSAL, delay=0, lane=row.lane, may_blame=True)
            self.halting.heard(REFUSED, began)

    def probe(self) -> None:
        """The next attempt, when its time has come."""
        self.seconds += self.halting.pause()
        self.halting.probe(self.settle)


REFUSED_KEY = Misconfigured("STRIPE_SECRET_KEY", "Stripe refuses it", "Give another")


@pytest.mark.parametrize(("longest_pause", "last"), [(None, 60.0), (300.0, 80.0)])
def test_while_the_key_is_refused_it_is_tried_ever_more_rarely(
    database: Database, longest_pause: float | None, last: float
) -> None:
    everybody = Everybody(database, longest_pause)
    everybody.probe()
    for _ in range(2):
        everybody.key = REFUSED_KEY
        everybody.halting.bar(everybody.key)
        pauses = []
        for _ in range(5):
            everybody.probe()
            pauses.append(everybody.halting.pause())
            assert everybody.halting.until_look() == 5.0
        assert pauses == [5.0, 10.0, 20.0, 40.0, last]
        everybody.key = None
        everybody.probe()
        assert not everybody.halting.halted, "and from then on it begins anew"


def test_another_key_is_tried_at_once_and_once(database: Database) -> None:
    everybody = Everybody(database)
    everybody.key = REFUSED_KEY
    for _ in range(4):
        everybody.probe()
    everybody.configured = "sk_test_2"
    assert everybody.halting.pause() == 0.0
    everybody.probe()
    assert everybody.halting.pause() > PROBE_INTERVAL, "it is refused, too"
    everybody.configured, everybody.key = "sk_test_3", None
    everybody.probe()
    assert not everybody.halting.halted


def test_what_is_only_away_is_tried_as_often_as_ever(database: Database) -> None:
    everybody = Everybody(database)
    everybody.key = Unavailable("stripe", "no answer")
    for _ in range(4):
        everybody.probe()
        assert everybody.halting.pause() == PROBE_INTERVAL


def execute(database: Database, statement: str) -> None:
    with database.transaction() as tx:
        tx.execute(text(statement))


def generations(database: Database) -> set[int]:
    with database.transaction() as tx:
        return set(tx.execute(text("SELECT generation FROM provisionings")).scalars())


@pytest.fixture
def everybody(database: Database) -> Everybody:
    """Forty rows, of which nobody was tried; the settling of them has begun."""
    for number in range(40):
        with database.transaction() as tx:
            insert.insert_new(tx, new_rows([f"user-{number:02}"]), lease=LEASE, stripe_now=NOW)
    everybody = Everybody(database)
    everybody.probe()
    assert everybody.tried == [], "a first start tries nobody"
    assert not everybody.halting.halted
    return everybody


def refuse(everybody: Everybody, count: int, age: float = GRACE) -> None:
    """So many users were refused, the first of them `age` seconds ago."""
    for _ in range(count):
        lease = everybody.leases.lease_untried(newest=False)
        assert lease is not None
        everybody.settle(lease)
    execute(everybody.database, f"UPDATE provisionings SET refused_at = refused_at - interval '{age} seconds'")
    everybody.tried.clear()
    everybody.seconds += PROBE_INTERVAL
    if not everybody.halting.halted:
        everybody.halting.watch()


def test_who_is_tried_alone_counts_as_asked_when_he_is(everybody: Everybody) -> None:
    refuse(everybody, 3)
    leases = [everybody.leases.lease_refused(), everybody.leases.lease_untried(newest=True)]
    for lease in leases:
        assert lease is not None
        requested = lease.row.customer_requested
        assert requested is not None
        assert (requested.first, requested.last) == (NOW, NOW)
        assert 0 < lease.deadline.remaining() <= LEASE.total_seconds()


def test_where_nobody_waits_nobody_is_tried(everybody: Everybody) -> None:
    execute(everybody.database, "DELETE FROM provisionings")
    assert everybody.leases.lease_refused() is None
    assert everybody.leases.lease_untried(newest=True) is None


def test_the_newest_and_the_oldest_who_were_not_refused_are_tried_in_turn(everybody: Everybody) -> None:
    refuse(everybody, 3)
    assert everybody.halting.halted
    for _ in range(4):
        everybody.probe()
    assert everybody.tried == ["user-39", "user-03", "user-38", "user-04"]


def test_one_pass_ends_the_doubt_and_has_the_refused_tried_again(everybody: Everybody) -> None:
    refuse(everybody, 3)
    everybody.passes = {"user-39"}
    everybody.probe()
    assert not everybody.halting.halted
    assert everybody.told[-1] is None
    assert everybody.leases.refusals() == []


def test_an_hour_of_halting_moves_no_generation_and_tries_everybody_in_turn(everybody: Everybody) -> None:
    refuse(everybody, 3)
    while everybody.seconds < 3600:
        everybody.probe()
    assert 700 < len(everybody.tried) <= 721
    assert len(set(everybody.tried[-40:])) == 40
    assert generations(everybody.database) == {1}
    everybody.passes = {everybody.tried[-40]}
    everybody.probe()
    assert not everybody.halting.halted, "a refused one's pass tells as much"


def test_doubt_becomes_loud_after_half_a_minute(everybody: Everybody) -> None:
    refuse(everybody, 3)
    everybody.probe()
    assert isinstance(everybody.told[-1], InDoubt)
    began = everybody.seconds
    while everybody.seconds < began + HALTED_AFTER:
        everybody.probe()
    assert isinstance(everybody.told[-1], Misconfigured)


def test_it_is_loud_at_once_if_nobody_is_left_to_try(everybody: Everybody) -> None:
    refuse(everybody, 40)
    everybody.probe()
    assert isinstance(everybody.told[-1], Misconfigured)


def test_two_refused_users_stop_nobody(everybody: Everybody) -> None:
    refuse(everybody, 2, age=3600)
    assert not everybody.halting.halted


def test_what_is_wrong_with_all_new_rows_is_told_though_nothing_is_halted(everybody: Everybody) -> None:
    everybody.problem = Misconfigured("plans.pending", "no price", "Run setup")
    everybody.seconds += PROBE_INTERVAL
    everybody.halting.watch()
    assert everybody.told[-1] is everybody.problem
    assert not everybody.halting.halted


@pytest.mark.parametrize("still", [Misconfigured("STRIPE_SECRET_KEY", "401", "Another"), TryLater("away")])
def test_while_the_key_is_not_known_to_work_nobody_is_tried(everybody: Everybody, still: SubkeeperError) -> None:
    everybody.key = still
    everybody.halting.bar(still)
    for _ in range(3):
        everybody.probe()
    assert everybody.tried == []
    everybody.key, everybody.passes = None, {"user-39"}
    everybody.probe()
    assert everybody.tried == ["user-39"]
    assert not everybody.halting.halted


def test_a_key_that_is_refused_by_the_row_that_is_tried_stays_refused(everybody: Everybody) -> None:
    stop = Misconfigured("STRIPE_SECRET_KEY", "403", "Another")
    everybody.halting.bar(stop)

    def refused(_lease: Lease) -> None:
        everybody.halting.bar(Misconfigured("STRIPE_SECRET_KEY", "403", "Another"))

    everybody.halting.probe(refused)
    assert everybody.halting.halted


def test_a_pass_that_began_before_the_refusals_tells_nothing(everybody: Everybody) -> None:
    began = boot_time() - 60
    refuse(everybody, 3, age=GRACE)
    everybody.halting.heard(PASSED, began)
    assert everybody.halting.halted


def test_sums_are_told_once_a_minute_and_only_if_there_are_any() -> None:
    seconds = 0.0
    tally = Tally(clock=lambda: seconds)
    with capture_logs() as logged:
        tally.add("completed")
        tally.tell_each_minute()
        assert logged == []
        seconds = INTERVAL
        tally.tell_each_minute()
        seconds = 60 * INTERVAL
        tally.tell_each_minute()
    assert [(line["event"], line["outcomes"]) for line in logged] == [("rows.settled", {"completed": 1})]

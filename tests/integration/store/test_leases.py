"""The ledger's SQL: absorbing, leasing, and the fence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tests.integration.store.conftest import LEASE, NOW, SEALED, new_rows
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.provisioning import Provisioning, Requested, State
from worker.provisioning.leases import Lease, Leases
from worker.sealing import HEADER_BYTES
from worker.store import customers
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost
from worker.store.provisioning import insert, leases, postponing, steps
from worker.store.provisioning.insert import NewProvisioning

LATER = NOW + timedelta(hours=1)
OURS = [SEALED[:HEADER_BYTES]]


def add(
    database: Database, *user_ids: str, lane: Lane = Lane.LIVE, leased: bool = False
) -> tuple[set[str], list[Provisioning]]:
    with database.transaction() as tx:
        rows = new_rows(user_ids, lane=lane, leased=leased)
        return insert.insert_new(tx, rows, lease=LEASE, stripe_now=NOW)


def lease(
    database: Database, limit: int = 10, lane: Lane = Lane.LIVE, openable: Sequence[bytes] = OURS
) -> list[Provisioning]:
    with database.transaction() as tx:
        return leases.lease_due(tx, lane, limit, lease=LEASE, stripe_now=LATER, openable=openable)


def execute(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What it returns, if anything."""
    with database.transaction() as tx:
        found = tx.execute(text(statement))
        return [tuple(row) for row in found] if found.returns_rows else []


def test_only_new_users_are_inserted_and_known_ones_stay_as_they_are(database: Database) -> None:
    assert add(database, "a", "b") == ({"a", "b"}, [])
    lease(database)
    new, leased = add(database, "b", "c", leased=True)
    assert (new, [row.user_id for row in leased]) == ({"c"}, ["c"])
    assert [row.user_id for row in lease(database)] == [], "the leases of a, b and c hold"


def test_a_row_that_is_leased_when_absorbed_notes_its_request_and_is_not_due(database: Database) -> None:
    _, (row,) = add(database, "a", leased=True)
    assert row.attempts == 1
    assert row.lease_token > 0
    assert row.customer_requested is not None
    assert row.customer_requested.first == row.customer_requested.last == NOW
    assert lease(database) == []


def test_the_longest_due_are_leased_first_up_to_the_limit_of_their_lane(database: Database) -> None:
    add(database, "a", "b", "c")
    add(database, "z", lane=Lane.BACKFILL)
    execute(database, "UPDATE provisionings SET due_at = now() - interval '1 hour' WHERE user_id = 'c'")
    execute(database, "UPDATE provisionings SET due_at = now() + interval '1 hour' WHERE user_id = 'b'")
    assert [row.user_id for row in lease(database, 1)] == ["c"]
    assert [row.user_id for row in lease(database)] == ["a"]
    assert [row.user_id for row in lease(database, lane=Lane.BACKFILL)] == ["z"]
    assert lease(database) == []


def test_rows_that_another_transaction_is_leasing_are_passed_over(database: Database) -> None:
    add(database, "a", "b")
    with database.transaction() as mine:
        first = leases.lease_due(mine, Lane.LIVE, 1, lease=LEASE, stripe_now=LATER, openable=OURS)
        second = lease(database)
    assert {row.user_id for row in first} | {row.user_id for row in second} == {"a", "b"}
    assert len(first) == len(second) == 1


def test_a_row_that_is_sealed_under_another_key_is_left_to_who_has_it(database: Database) -> None:
    add(database, "a", "b", "c")
    execute(database, "UPDATE provisionings SET customer_request = '\\x0174776f21' WHERE user_id = 'b'")
    execute(database, "UPDATE provisionings SET due_at = due_at - interval '1 hour' WHERE user_id = 'b'")
    assert [row.user_id for row in lease(database, 1)] == ["a"]
    assert [row.user_id for row in lease(database, openable=[])] == []
    assert {row.user_id for row in lease(database, openable=[b"\x01two!", *OURS])} == {"b", "c"}


def test_a_row_that_has_its_customer_needs_no_key(database: Database) -> None:
    add(database, "a")
    record_customer(database, lease(database)[0])
    execute(database, "UPDATE provisionings SET due_at = now() - interval '1 second'")
    assert [row.user_id for row in lease(database, openable=[])] == ["a"]


def test_a_lease_that_ran_out_is_given_to_another_and_the_first_holder_is_fenced_off(database: Database) -> None:
    add(database, "a")
    (old,) = lease(database)
    execute(database, "UPDATE provisionings SET due_at = now() - interval '1 second'")
    (new,) = lease(database)
    assert new.lease_token != old.lease_token
    assert new.attempts == 2
    writes: list[Callable[[Database, Provisioning], None]] = [record_customer, next_generation, postpone, quarantine]
    for write in writes:
        with pytest.raises(LeaseLost):
            write(database, old)
    record_customer(database, new)


def test_a_database_set_back_under_running_workers_gives_no_lease_that_somebody_holds_already(
    database: Database,
) -> None:
    """By a restored backup, or a failover to a replica that lags: what it had leased since, it knows nothing of."""
    add(database, "swept")
    execute(database, "CREATE TABLE backup AS TABLE provisionings")
    lost = [*lease(database), *add(database, "absorbed", leased=True)[1]]
    execute(database, "DELETE FROM provisionings")
    execute(database, "INSERT INTO provisionings TABLE backup")
    again = [*lease(database), *add(database, "absorbed", leased=True)[1]]
    assert [row.user_id for row in again] == [row.user_id for row in lost] == ["swept", "absorbed"]
    for row in lost:
        with pytest.raises(LeaseLost):
            record_customer(database, row)
    for number, row in enumerate(again):
        record_customer(database, row, f"cus_{number}")


def test_a_row_that_a_process_of_the_release_before_leases_is_fenced_as_well(database: Database) -> None:
    add(database, "a")
    (old,) = lease(database)
    execute(database, "UPDATE provisionings SET lease_token = lease_token + 1, due_at = now()")
    with pytest.raises(LeaseLost):
        record_customer(database, old)
    record_customer(database, lease(database)[0])


def record_customer(database: Database, row: Provisioning, customer_id: str = "cus_1") -> None:
    frozen = replace(row, stripe_customer_id=customer_id, subscription_request="{}")
    with database.transaction() as tx:
        steps.record_customer(tx, frozen, look_first=False, lease=LEASE, stripe_now=LATER)


def next_generation(database: Database, row: Provisioning) -> None:
    with database.transaction() as tx:
        leases.next_generation(tx, row, row, error="key_burnt", lease=LEASE, stripe_now=LATER)


def postpone(database: Database, row: Provisioning) -> None:
    with database.transaction() as tx:
        postponing.postpone(tx, row, delay=timedelta(seconds=5), lane=Lane.RETRY, error="later", sent=True)


def quarantine(database: Database, row: Provisioning) -> None:
    with database.transaction() as tx:
        leases.quarantine(tx, row, error="no", customer_gone=False)


def test_a_row_leased_when_absorbed_is_the_row_that_the_next_attempt_reads(database: Database) -> None:
    execute(database, "INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES ('known', 'cus_1')")
    _, rows = add(database, "known", "new", leased=True)
    execute(database, "UPDATE provisionings SET due_at = now() - interval '1 second'")
    again = {row.user_id: row for row in lease(database)}
    for row in rows:
        assert row.customer_requested is not None
        token = again[row.user_id].lease_token
        assert token != row.lease_token
        expected = replace(
            row,
            attempts=2,
            lease_token=token,
            customer_requested=Requested(NOW, LATER),
            requested_before=Requested(NOW, NOW),
            seen_for=again[row.user_id].seen_for,
        )
        assert again[row.user_id].seen_for > timedelta(0)
        assert again[row.user_id] == expected
    assert again["known"].known_customer_id == "cus_1"


def test_what_a_holder_is_given_back_is_what_stands_in_the_table(database: Database) -> None:
    """A row in memory that differed from the table would send other bytes than the next attempt."""
    add(database, "a")
    (row,) = lease(database)
    with database.transaction() as tx:
        row = leases.next_generation(tx, row, row, error="key_burnt", lease=LEASE, stripe_now=LATER)
    row = replace(row, stripe_customer_id="cus_1", subscription_request="{}", trial_end=LATER)
    with database.transaction() as tx:
        row = steps.record_customer(tx, row, look_first=True, lease=LEASE, stripe_now=LATER)
    assert execute(database, "SELECT trial_end FROM provisionings") == [(LATER,)]
    row = replace(row, subscription_request='{"a": 1}', trial_end=NOW)
    with database.transaction() as tx:
        leases.freeze_subscription_request(tx, row)
    execute(database, "UPDATE provisionings SET due_at = now()")
    (again,) = lease(database)
    assert (again.generation, again.state, again.look_first) == (2, State.CUSTOMER_CREATED, True)
    assert again.subscription_request == row.subscription_request == '{"a": 1}'
    assert again.trial_end == row.trial_end == NOW
    assert again.stripe_customer_id == row.stripe_customer_id == "cus_1"
    assert (again.customer_requested, again.subscription_requested) == (
        row.customer_requested,
        row.subscription_requested,
    )


def test_a_next_generation_in_memory_is_the_one_in_the_table(database: Database) -> None:
    """Another number would be another key than the next attempt's."""
    add(database, "a")
    held = Lease(customer_created(database), Deadline.after(60))
    changed = replace(held.row, subscription_request='{"a": 2}', subscription_requested=None)
    leases_of(database).next_generation(held, changed, "terms_changed")
    found = "SELECT generation, subscription_request, last_error FROM provisionings"
    assert execute(database, found) == [(held.row.generation, held.row.subscription_request, "terms_changed")]
    assert (held.row.generation, held.row.subscription_request) == (2, '{"a": 2}')
    assert requested(database)[0][3] == LATER, "it is about to be asked for"


def test_so_many_of_each_lane_are_leased(database: Database) -> None:
    add(database, "a", "b", "c")
    add(database, "y", "z", lane=Lane.BACKFILL)
    held = leases_of(database).lease_due({Lane.LIVE: 2, Lane.BACKFILL: 1})
    assert [each.lane for each in held] == [Lane.LIVE, Lane.LIVE, Lane.BACKFILL]


@pytest.mark.parametrize("adopted", [False, True])
def test_with_the_customer_recorded_nothing_is_sent_yet_for_the_next_step(database: Database, adopted: bool) -> None:
    add(database, "a")
    (row,) = lease(database)
    held = Lease(row, Deadline.after(60), sent=True)
    frozen = replace(row, stripe_customer_id="cus_1", subscription_request="{}")
    leases_of(database).record_customer(held, frozen, made=None if adopted else (LATER, LATER))
    assert (held.sent, held.made_customer) == (False, not adopted)


@pytest.mark.parametrize("sent", [False, True])
def test_a_refused_request_was_asked_if_it_was_sent(database: Database, sent: bool) -> None:
    add(database, "a")
    (row,) = lease(database)
    held = Lease(row, Deadline.after(60), sent=sent)
    leases_of(database).refuse(held, "declined", "no", delay=0, lane=Lane.RETRY, may_blame=False)
    assert requested(database) == [(LATER, LATER, None, None) if sent else (None, None, None, None)]


def test_a_pass_releases_those_who_were_refused_before_its_settling_began(database: Database) -> None:
    add(database, "a")
    held = Lease(customer_created(database), Deadline.after(60), sent=True)
    keeping = leases_of(database)
    keeping.refuse(held, "declined", "no", delay=0, lane=Lane.RETRY, may_blame=False)
    assert keeping.release_refused(keeping.clock() - 60, None) == 0
    assert keeping.release_refused(keeping.clock() + 1, None) == 1


@pytest.mark.parametrize("gone", [False, True])
def test_a_row_is_set_aside_with_its_reason_and_only_a_customer_that_is_gone_gets_a_tombstone(
    database: Database, gone: bool
) -> None:
    add(database, "a")
    held = Lease(customer_created(database), Deadline.after(60))
    leases_of(database).quarantine(held, "no", customer_gone=gone)
    found = "SELECT state, last_error, stripe_customer_id FROM provisionings"
    assert execute(database, found) == [("quarantined", "no", None if gone else "cus_1")]
    assert execute(database, "SELECT deleted_at IS NOT NULL FROM billing_customers") == [(gone,)]


def test_the_same_refusal_is_the_row_s_own_once_another_has_passed(database: Database) -> None:
    add(database, "a")
    held = Lease(customer_created(database), Deadline.after(60), sent=True)
    keeping = leases_of(database)
    assert keeping.refuse(held, "declined", "first", delay=0, lane=Lane.RETRY, may_blame=True) is False
    found = "SELECT state, refusal, last_error FROM provisionings"
    assert execute(database, found) == [("customer_created", "declined", "first")]
    execute(database, "UPDATE provisionings SET others_passed = true")
    for refusal, is_its_own in (("another", False), ("declined", True)):
        (row,) = lease(database, lane=Lane.RETRY)
        its_own = keeping.refuse(
            Lease(row, Deadline.after(60)), refusal, "no", delay=0, lane=Lane.RETRY, may_blame=True
        )
        execute(database, "UPDATE provisionings SET others_passed = true, refusal = 'declined'")
        assert its_own is is_its_own
    kept = "SELECT state, last_error, stripe_customer_id FROM provisionings"
    assert execute(database, kept) == [("quarantined", "no", "cus_1")]


def leases_of(database: Database) -> Leases:
    return Leases(database, length=LEASE, now=lambda: LATER, openable=lambda: OURS, progress=lambda: None)


def customer_created(database: Database) -> Provisioning:
    """The one due row, leased, once its customer was recorded."""
    (row,) = lease(database)
    with database.transaction() as tx:
        frozen = replace(row, stripe_customer_id="cus_1", subscription_request='{"a": 1}')
        return steps.record_customer(tx, frozen, look_first=False, lease=LEASE, stripe_now=LATER)


def test_finished_rows_are_leased_never_again(database: Database) -> None:
    add(database, "done", "aside", leased=True)
    execute(
        database,
        "UPDATE provisionings SET state = 'completed', stripe_subscription_id = 'sub_1', customer_request = NULL,"
        " due_at = now() - interval '1 day' WHERE user_id = 'done'",
    )
    execute(database, "UPDATE provisionings SET state = 'quarantined', due_at = now() WHERE user_id = 'aside'")
    assert lease(database) == []


def test_batches_in_opposite_orders_do_not_deadlock(new_database: Callable[..., Database]) -> None:
    names = [f"user-{number:03}" for number in range(300)]
    failures: list[Exception] = []
    barrier = threading.Barrier(2)

    def absorb(database: Database, order: list[str]) -> None:
        try:
            for start in range(0, len(order), 50):
                barrier.wait(10)
                add(database, *order[start : start + 50])
        except Exception as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [
        threading.Thread(target=absorb, args=(new_database(), order)) for order in (names, [*reversed(names)], )
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_quarantined_rows_without_a_stripe_object_take_a_newer_profile(database: Database) -> None:
    add(database, "none", "has")
    for row in lease(database):
        if row.user_id == "has":
            record_customer(database, row)
        quarantine(database, row)
    with database.transaction() as tx:
        replaced = insert.replace_quarantined(tx, new_rows(["none", "has", "nobody"], request=SEALED + b"newer"))
    assert replaced.done == {"none"}
    (row,) = lease(database)
    assert (row.user_id, row.customer_request, row.generation, row.look_first) == ("none", SEALED + b"newer", 2, True)


def test_a_quarantined_row_that_somebody_holds_is_passed_over_and_named(
    database: Database, new_database: Callable[..., Database]
) -> None:
    add(database, "a", "b")
    for row in lease(database):
        quarantine(database, row)
    with new_database().transaction() as other, database.transaction() as tx:
        other.execute(text("SELECT FROM provisionings WHERE user_id = 'a' FOR UPDATE"))
        assert insert.replace_quarantined(tx, new_rows(["a", "b"])) == ({"b"}, {"a"}, set())


def test_a_user_whose_customer_was_deleted_takes_no_newer_profile(database: Database) -> None:
    add(database, "ada")
    (row,) = lease(database)
    record_customer(database, row)
    with database.transaction() as tx:
        leases.quarantine(tx, row, error="customer_gone", customer_gone=True)
        customers.mark_deleted(tx, "cus_1")
    with database.transaction() as tx:
        assert insert.replace_quarantined(tx, new_rows(["ada"], request=b"newer")) == (set(), set(), set())


@pytest.mark.parametrize("state", ["erasing", "erased"])
def test_who_is_erased_takes_no_newer_profile_and_is_told_apart(database: Database, state: str) -> None:
    add(database, "ada", "bob")
    with database.transaction() as tx:
        tx.execute(text("UPDATE provisionings SET state = :state WHERE user_id = 'ada'"), {"state": state})
        assert insert.replace_quarantined(tx, new_rows(["ada", "bob"], request=b"newer")) == (set(), set(), {"ada"})
        found = tx.execute(text("SELECT customer_request FROM provisionings WHERE user_id = 'ada'")).scalar_one()
    assert bytes(found) != b"newer"


@pytest.mark.parametrize(
    ("old", "new", "left"), [(NOW, LATER, NOW), (LATER, NOW, NOW), (NOW, None, NOW), (None, NOW, None)]
)
def test_a_newer_profile_makes_nobody_s_key_younger(
    database: Database, old: datetime | None, new: datetime | None, left: datetime | None
) -> None:
    def rows(since: datetime | None) -> list[NewProvisioning]:
        return [replace(row, key_possible_since=since) for row in new_rows(["a"])]

    with database.transaction() as tx:
        insert.insert_new(tx, rows(old), lease=LEASE, stripe_now=NOW)
    quarantine(database, lease(database)[0])
    with database.transaction() as tx:
        assert insert.replace_quarantined(tx, rows(new)).done == {"a"}
    assert [row.key_possible_since for row in lease(database)] == [left]


def requested(database: Database) -> list[tuple[datetime | None, ...]]:
    with database.transaction() as tx:
        query = """
            SELECT customer_requested_at, customer_last_requested_at, subscription_requested_at,
                   subscription_last_requested_at FROM provisionings
        """
        return [tuple(row) for row in tx.execute(text(query))]


def give_back(database: Database, row: Provisioning, *, sent: bool) -> None:
    with database.transaction() as tx:
        postponing.postpone(tx, row, delay=timedelta(0), lane=Lane.LIVE, error=None, sent=sent)


def test_a_request_given_back_unsent_was_not_asked(database: Database) -> None:
    _, (row,) = add(database, "a", leased=True)
    give_back(database, row, sent=False)
    assert requested(database) == [(None, None, None, None)]
    (again,) = lease(database)
    assert again.customer_requested == Requested(LATER, LATER)
    give_back(database, again, sent=True)
    assert requested(database) == [(LATER, LATER, None, None)]


def test_a_request_given_back_unsent_leaves_those_before_it_as_they_were(database: Database) -> None:
    _, (row,) = add(database, "a", leased=True)
    give_back(database, row, sent=True)
    (again,) = lease(database)
    assert again.requested_before == Requested(NOW, NOW)
    give_back(database, again, sent=False)
    assert requested(database) == [(NOW, NOW, None, None)]


def test_the_second_step_s_request_given_back_unsent_leaves_the_first_s_alone(database: Database) -> None:
    _, (row,) = add(database, "a", leased=True)
    frozen = replace(row, stripe_customer_id="cus_1", subscription_request="{}")
    with database.transaction() as tx:
        row = steps.record_customer(tx, frozen, look_first=False, lease=LEASE, stripe_now=LATER)
    give_back(database, row, sent=False)
    assert requested(database) == [(NOW, NOW, None, None)]
    (again,) = lease(database)
    assert again.requested_before is None
    give_back(database, again, sent=False)
    assert requested(database) == [(NOW, NOW, None, None)]

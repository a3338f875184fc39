"""What a delivered profile comes to, whatever its delivery was like."""

from __future__ import annotations

import json
import random
import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sandbox.nsq import Nsqlookupd
from tests.conftest import NewNsqd
from tests.support.stack import TRIAL, Stack, profile, users
from tests.support.waiting import wait_until
from worker.broker import consumer


def test_a_profile_gets_one_customer_and_one_trial_subscription(stack: Stack) -> None:
    before = datetime.now(UTC)
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    customer = stack.customers("ada")[0]
    assert (customer["email"], customer["name"]) == ("ada@example.org", "Name of ada")
    assert (
        timedelta(0) <= stack.ledger("ada")["trial_end"] - TRIAL - before.replace(microsecond=0) < timedelta(seconds=5)
    )


def test_a_profile_without_email_and_name_gets_its_subscription_too(stack: Stack) -> None:
    stack.start_worker()
    stack.publish(profile("bare", email=None, name=None))
    stack.await_completed("bare")
    stack.assert_exactly_one("bare")
    assert stack.customers("bare")[0]["email"] is None


def test_a_repeated_delivery_changes_nothing(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    row, asked = stack.ledger("ada"), len(stack.control.requests())
    stack.publish(profile("ada"), profile("ada", email="other@example.org"))
    wait_until(lambda: worker.metric("subkeeper_messages_total", topic=stack.topic, outcome="known") == 2)
    assert stack.ledger("ada") == row
    assert len(stack.control.requests()) == asked
    stack.assert_exactly_one("ada")


def test_an_edited_profile_that_overtakes_its_settling_does_not_change_what_is_sent(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.control.fault("drop", match={"path": "/v1/customers", "method": "POST"}, times=2, when="after")
    stack.publish(profile("ada"))
    wait_until(lambda: stack.requests("POST", "/v1/customers"))
    stack.publish(profile("ada", email="edited@example.org", name="Edited"))
    wait_until(lambda: worker.metric("subkeeper_messages_total", topic=stack.topic, outcome="known") == 1)
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.customers("ada")[0]["email"] == "ada@example.org"
    assert len({each["idempotency_key"] for each in stack.requests("POST", "/v1/customers")}) == 1


def test_fifty_deliveries_of_one_profile_at_once_on_three_processes_make_one_of_each(stack: Stack) -> None:
    stack.publish(*[profile("ada", name=f"Ada {number}") for number in range(50)])
    workers = [stack.spawn("run", "profiles", SUBKEEPER_ABSORB__BATCH="3") for _ in range(2)]
    stack.start_worker(SUBKEEPER_ABSORB__BATCH="3")
    for worker in workers:
        worker.await_start()
    stack.await_completed("ada")
    wait_until(stack.is_drained)
    stack.assert_exactly_one("ada")


def test_fifty_users_delivered_repeatedly_and_out_of_order_to_three_processes_are_each_served_once(
    stack: Stack, rng: random.Random
) -> None:
    names = users(50)
    deliveries = [profile(name) for name in names for _ in range(3)]
    rng.shuffle(deliveries)
    stack.publish(*deliveries)
    workers = [stack.spawn("run", "profiles", SUBKEEPER_ABSORB__BATCH="20") for _ in range(2)]
    stack.start_worker(SUBKEEPER_ABSORB__BATCH="20")
    for worker in workers:
        worker.await_start()
    stack.await_completed(*names, timeout=30)
    wait_until(stack.is_drained)
    stack.assert_exactly_one(*names)
    assert stack.control.duplicates() == {}


def test_a_batch_larger_than_the_seats_is_settled_without_waiting_for_the_next_sweep(stack: Stack) -> None:
    names = users(30)
    stack.publish(*[profile(name) for name in names])
    stack.start_worker(SUBKEEPER_SETTLE__THREADS="4", SUBKEEPER_SETTLE__SWEEP_INTERVAL="60")
    stack.await_completed(*names, timeout=20)


POISON = {
    "not_utf8": b"\xff\xfe{\x00}\x00",
    "not_json": b'{"id": "x", "email": "poison@example.org"',
    "not_an_object": b'["poison@example.org"]',
    "id_missing": b'{"email": "poison@example.org"}',
    "id_too_long": b'{"id": "' + b"x" * 256 + b'"}',
    "id_unstorable": b'{"id": "a\\u0000b"}',
    "email_unstorable": b'{"id": "x", "email": "\\ud800poison@example.org"}',
    "duplicate_key": b'{"id": "x", "id": "poison@example.org"}',
    "nested_too_deep": b'{"id": "x", "d": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "created_at_invalid": b'{"id": "x", "created_at": "poison@example.org"}',
}


def test_rows_are_leased_ahead_so_that_a_thread_that_is_done_finds_the_next_one(stack: Stack) -> None:
    worker = stack.start_worker(SUBKEEPER_SETTLE__THREADS="4")
    wait_until(worker.is_ready)
    stack.control.latency(ms=2000)
    stack.publish(*[profile(name) for name in users(30)])
    leased = "SELECT count(*) AS n FROM provisionings WHERE lease_until IS NOT NULL"
    wait_until(lambda: stack.rows(leased)[0]["n"] == 6, what="four rows under way, two ahead")
    stack.control.latency(ms=0)
    stack.await_completed(*users(30))
    stack.assert_exactly_one(*users(30))


def test_a_stop_while_one_batch_is_committed_and_the_next_is_prepared_loses_neither(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "AHEAD_FROM", 1)
    names = users(150)
    worker = stack.start_worker(SUBKEEPER_ABSORB__BATCH="20", SUBKEEPER_DATABASE__LOCK_TIMEOUT="0.5")
    wait_until(worker.is_ready)
    with psycopg.connect(stack.database_url) as holder:  # the batch with this user waits for our commit
        insert = "INSERT INTO provisionings (user_id, plan, trial_end, lane) VALUES (%s, 'pending', now(), 0)"
        holder.execute(insert, [names[60]])
        stack.publish(*[profile(name) for name in names])
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        wait_until(lambda: stack.rows(waiting), what="a commit that waits")
        assert any(thread.name.startswith("committer") for thread in threading.enumerate())
        assert worker.stop() == 0
        holder.rollback()
    absorbed = stack.rows("SELECT count(*) AS n FROM provisionings")[0]["n"]
    left = stack.nsqd.channel(stack.topic, "subkeeper")
    given_back = left["depth"] + left["deferred_count"]  # the locked user's, tried by itself by then, is put off
    assert given_back == len(names) - absorbed >= 40
    stack.start_worker()
    stack.await_completed(*names, timeout=30)
    stack.assert_exactly_one(*names)


def test_poisoned_messages_are_kept_sealed_with_their_reason_and_the_batch_around_them_is_served(stack: Stack) -> None:
    names = users(4)
    stack.publish(profile(names[0]), *POISON.values(), *[profile(name) for name in names[1:]])
    worker = stack.start_worker()
    stack.await_completed(*names)
    wait_until(stack.is_drained)
    stack.assert_exactly_one(*names)
    kept = stack.rows("SELECT * FROM quarantined_messages")
    assert sorted(row["reason"] for row in kept) == sorted(POISON)
    assert not any(b"poison@" in bytes(row["sealed_body"]) for row in kept)
    assert all(row["expires_at"] - row["quarantined_at"] > timedelta(days=29) for row in kept)
    assert worker.metric("subkeeper_messages_total", topic=stack.topic, outcome="quarantined") == len(POISON)
    assert worker.is_ready()


def test_a_poisoned_message_that_is_delivered_again_stays_one_row(stack: Stack) -> None:
    stack.start_worker()
    stack.publish(b"no json", b"no json")
    stack.publish(b"no json", profile("ada"))
    stack.await_completed("ada")
    wait_until(stack.is_drained)
    assert len(stack.rows("SELECT 1 FROM quarantined_messages")) == 1


def test_a_message_of_another_shape_is_read_by_json_pointers(stack: Stack) -> None:
    stack.start_worker(
        SUBKEEPER_MESSAGE__ID="/data/user~1id",
        SUBKEEPER_MESSAGE__EMAIL="/data/contacts/0",
        SUBKEEPER_MESSAGE__CREATED_AT="/at",
    )
    created = datetime.now(UTC) - timedelta(hours=2)
    stack.publish({"data": {"user/id": "ada", "contacts": ["ada@example.org"]}, "at": created.isoformat()})
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.ledger("ada")["trial_end"] == (created + TRIAL).replace(microsecond=0)


def test_a_cloudevent_carries_the_profile_in_its_data(stack: Stack) -> None:
    stack.start_worker()
    envelope = {"specversion": "1.0", "id": "event-1", "source": "/auth", "type": "profile.created"}
    stack.publish({**envelope, "data": profile("ada")})
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert not stack.ledger("event-1")


def test_ids_of_every_script_and_length_are_served(stack: Stack) -> None:
    names = [
        "Ünïcode-用户",
        "a" * 255,
        "😀" * 250,
        "  spaces  ",
        "'; DROP TABLE provisionings; --",
        "x\n\ty",
        "{}",
        "0",
    ]
    stack.start_worker()
    stack.publish(*[profile(name, email=f"u{number}@example.org", name=None) for number, name in enumerate(names)])
    stack.await_completed(*names)
    stack.assert_exactly_one(*names)


def test_another_channel_on_the_topic_gets_its_own_copy_and_takes_none_of_ours(stack: Stack) -> None:
    stack.nsqd.create_channel(stack.topic, "somebody-else")
    stack.start_worker()
    stack.publish(*[profile(name) for name in users(5)])
    stack.await_completed(*users(5))
    stack.assert_exactly_one(*users(5))
    assert stack.nsqd.channel(stack.topic, "somebody-else")["depth"] == 5


def test_a_backfill_does_not_hold_up_a_signup(stack: Stack) -> None:
    stack.control.latency(ms=50)
    stack.publish(*[profile(name) for name in users(150, "old")], topic=stack.backfill_topic)
    stack.start_worker(SUBKEEPER_SETTLE__THREADS="4")
    wait_until(lambda: stack.rows("SELECT 1 FROM provisionings WHERE state = 'completed'"))
    stack.publish(profile("new"))
    stack.await_completed("new", timeout=5)
    left = stack.rows("SELECT count(*) AS n FROM provisionings WHERE state <> 'completed'")[0]["n"]
    assert left > 50, "the signup was served in the middle of the backfill"
    stack.control.clear_faults()


def test_two_batches_with_the_same_users_in_opposite_orders_do_not_deadlock(stack: Stack) -> None:
    names = users(200)
    stack.publish(*[profile(name) for name in names], *[profile(name) for name in reversed(names)])
    for _ in range(2):
        stack.start_worker(SUBKEEPER_ABSORB__BATCH="50")
    stack.await_completed(*names, timeout=30)
    wait_until(stack.is_drained)
    with psycopg.connect(stack.database_url) as connection:
        found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert found.fetchone() == (0,)


def test_brokers_are_found_through_nsqlookupd_also_those_that_come_later(
    stack: Stack, nsqlookupd: Nsqlookupd, new_nsqd: NewNsqd
) -> None:
    stack.start_worker(
        SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES="",
        SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES="",
        SUBKEEPER_NSQ__LOOKUPD_HTTP_ADDRESSES=nsqlookupd.http_address,
        SUBKEEPER_NSQ__LOOKUPD_POLL_INTERVAL="0.2",
    )
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    late = new_nsqd(lookupds=[nsqlookupd])
    late.create_channel(stack.topic, "subkeeper")
    late.publish(stack.topic, *[json.dumps(profile(name)).encode() for name in ("ada", "bob")])
    stack.await_completed("bob")
    stack.assert_exactly_one("ada", "bob")


def test_a_profile_published_to_two_brokers_is_provisioned_once(stack: Stack, new_nsqd: NewNsqd) -> None:
    other = new_nsqd()
    names = users(10)
    stack.publish(*[profile(name) for name in names])
    other.create_channel(stack.topic, "subkeeper")
    other.publish(stack.topic, *[json.dumps(profile(name)).encode() for name in names])
    stack.start_worker(SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=f"{stack.nsqd.tcp_address},{other.tcp_address}")
    stack.await_completed(*names)
    wait_until(lambda: stack.is_drained() and other.channel(stack.topic, "subkeeper")["depth"] == 0)
    stack.assert_exactly_one(*names)

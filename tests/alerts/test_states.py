"""Each rule fires in the state that it is for, by what a real worker renders in it, and in no healthy one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.postgres import PostgresServer
from tests.alerts.monitor import Monitor
from tests.alerts.rules import read_rules
from tests.conftest import NewNsqd
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Http, Stack, Worker, profile, users
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick_probes")


@pytest.fixture
def postgres(new_postgres: Callable[[], PostgresServer]) -> PostgresServer:
    """A Postgres of the test's own, to be stopped."""
    return new_postgres()


@pytest.fixture
def own_stack(new_stack: NewStack, postgres: PostgresServer) -> Stack:
    stack = new_stack(database_url=postgres.create_database("subkeeper"))
    stack.setup()
    return stack


def shows(worker: Http, name: str) -> bool:
    """Whether a worker renders any series of this metric."""
    return re.search(rf"^{name}[{{ ]", worker.get("/metrics")[1], re.MULTILINE) is not None


def watched(worker: Worker) -> Monitor:
    """A monitor that has seen the worker for a while."""
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=20)
    return monitor


def await_linked(worker: Http) -> None:
    """A worker is ready with its first connection to nsqd; the others may be an instant behind."""

    def links(state: str) -> float:
        return worker.metric("subkeeper_nsqd_links", state=state)

    wait_until(lambda: links("connected") == links("wanted") > 0, what="all connections to nsqd")


def await_ready(worker: Worker) -> Worker:
    wait_until(worker.is_ready)
    await_linked(worker)
    wait_until(lambda: shows(worker, "subkeeper_oldest_unsettled_seconds"))
    return worker


def await_away(worker: Http, part: str) -> None:
    wait_until(lambda: not worker.part(part)[0] and worker.part(part)[1] != "starting", 30, f"{part} is away")


def await_leased(stack: Stack, *user_ids: str) -> None:
    held = "SELECT 1 FROM provisionings WHERE user_id = ANY(%s) AND lease_until > now()"
    wait_until(lambda: len(stack.rows(held, list(user_ids))) == len(user_ids))


def test_nothing_fires_while_all_is_well(stack: Stack, tmp_path: Path) -> None:
    monitor = watched(await_ready(stack.start_worker()))
    stack.publish(*[profile(name) for name in users(3)])
    stack.await_completed(*users(3))
    monitor.scrape(minutes=10)
    assert monitor.firing() == set()
    monitor.agree_with_promtool(tmp_path)


@pytest.mark.parametrize("part", ["postgres", "nsqd"])
def test_a_part_that_is_well_is_heard_of_again_and_again(stack: Stack, part: str) -> None:
    """Else it would count as silent in time."""
    worker = await_ready(stack.start_worker())
    ages = [0.0]

    def is_heard() -> bool:
        ages.append(worker.metric("subkeeper_last_answer_age_seconds", part=part))
        return ages[-1] < ages[-2]

    for _ in range(3):
        wait_until(is_heard)


def test_a_part_that_falls_silent_pages_before_anything_else_tells(own_stack: Stack, postgres: PostgresServer) -> None:
    worker = await_ready(own_stack.start_worker())
    silent = next(rule for rule in read_rules() if rule.alert == "SubkeeperPartSilent")
    impatient = replace(silent, expr=silent.expr.replace("> 300", "> 3"))
    assert impatient.expr != silent.expr
    monitor = Monitor({"a": worker}, [impatient])
    monitor.scrape()
    assert monitor.firing() == set()
    postgres.pause()
    try:
        wait_until(lambda: worker.metric("subkeeper_last_answer_age_seconds", part="postgres") > 3)
        monitor.scrape()
        assert worker.metric("subkeeper_up", part="postgres") == 1, "the look at it hangs, until its timeout"
        assert [labels["part"] for labels in monitor.labels("SubkeeperPartSilent")] == ["postgres"]
        wait_until(lambda: worker.metric("subkeeper_up", part="postgres") == 0, 40, "the look gives up")
        monitor.scrape()
        assert monitor.firing() == set(), "what is known to be away needs no restart of ours"
    finally:
        postgres.resume()


def test_a_key_that_is_refused_at_the_start_pages(stack: Stack, tmp_path: Path) -> None:
    worker = stack.start_worker(STRIPE_SECRET_KEY="sk_test_wrong")
    await_away(worker, "stripe")
    wait_until(lambda: worker.part("nsqd")[0], what="it absorbs")
    await_linked(worker)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperPartDown", "SubkeeperSettlingHalted"}
    assert [labels["part"] for labels in monitor.labels("SubkeeperPartDown")] == ["stripe"]
    monitor.agree_with_promtool(tmp_path)


def test_a_key_that_is_refused_at_the_very_first_start_pages(stack: Stack) -> None:
    stack.rows("DELETE FROM deployment")
    worker = stack.start_worker(STRIPE_SECRET_KEY="sk_test_wrong")
    await_away(worker, "stripe")
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=6)
    assert {"SubkeeperPartDown", "SubkeeperSettlingHalted"} <= monitor.firing()


def test_postgres_that_is_away_at_the_start_pages(own_stack: Stack, postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.stop()
    worker = own_stack.start_worker()
    await_away(worker, "postgres")
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=6)
    assert "subkeeper_queue_depth" not in {name for name, _ in monitor.scrapes[-1]}, "what can't be read is left out"
    assert "postgres" in [labels["part"] for labels in monitor.labels("SubkeeperPartDown")]
    monitor.agree_with_promtool(tmp_path)


def test_postgres_that_is_lost_pages_and_ends_no_alert(
    own_stack: Stack, postgres: PostgresServer, tmp_path: Path
) -> None:
    own_stack.control.fault("status", match={"path": "/v1/customers", "method": "POST"}, status=503)
    worker = await_ready(own_stack.start_worker())
    monitor = watched(worker)
    own_stack.publish(profile("ada"), b"poison")
    wait_until(lambda: own_stack.ledger("ada"))
    own_stack.rows("UPDATE provisionings SET first_seen_at = now() - interval '1 hour'")
    wait_until(lambda: worker.metric("subkeeper_oldest_unsettled_seconds") > 3600)
    monitor.scrape()
    assert monitor.firing() == {"SubkeeperProfilesWait", "SubkeeperQuarantineGrows"}
    postgres.stop()
    await_away(worker, "postgres")
    wait_until(lambda: not shows(worker, "subkeeper_oldest_unsettled_seconds"), what="left out")
    monitor.scrape(minutes=10)
    assert monitor.firing() >= {"SubkeeperProfilesWait", "SubkeeperQuarantineGrows", "SubkeeperPartDown"}
    monitor.agree_with_promtool(tmp_path)
    postgres.start()
    own_stack.control.clear_faults()
    own_stack.expire_leases()
    own_stack.await_completed("ada", timeout=40)
    await_ready(worker)
    wait_until(lambda: worker.metric("subkeeper_oldest_unsettled_seconds") == 0)
    monitor.scrape(minutes=16)
    assert monitor.firing() == set()


def test_one_nsqd_of_two_that_is_away_pages_and_the_other_s_messages_are_still_seen(
    new_stack: NewStack, new_nsqd: NewNsqd, tmp_path: Path
) -> None:
    first, second = new_nsqd(), new_nsqd()
    stack = new_stack(
        nsqd=first,
        SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES=f"{first.tcp_address},{second.tcp_address}",
        SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES=f"{first.http_address},{second.http_address}",
    )
    stack.setup()
    worker = stack.start_worker(STRIPE_SECRET_KEY="")  # billing is disabled: messages stay in their channels
    wait_until(worker.is_ready)
    await_linked(worker)
    stack.publish(*[profile(name) for name in users(1001)])
    wait_until(lambda: worker.metric("subkeeper_channel_depth", lane="live") == 1001, 30)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperMessagesWait"}
    second.stop()
    wait_until(lambda: worker.metric("subkeeper_nsqd_links", state="connected") == 2, what="the link is gone")
    wait_until(lambda: worker.metric("subkeeper_channel_depth", lane="live") == 1001, 30, "what answers is summed")
    monitor.scrape(minutes=6)
    assert worker.metric("subkeeper_nsqd_links", state="wanted") == 4
    assert monitor.firing() == {"SubkeeperMessagesWait", "SubkeeperLinksMissing"}
    monitor.agree_with_promtool(tmp_path)


def test_all_nsqds_away_pages(new_stack: NewStack, new_nsqd: NewNsqd) -> None:
    nsqd = new_nsqd()
    stack = new_stack(nsqd=nsqd)
    stack.setup()
    monitor = watched(await_ready(stack.start_worker()))
    nsqd.stop()
    await_away(monitor.workers["a"], "nsqd")
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperPartDown", "SubkeeperLinksMissing"}


def test_events_that_nobody_takes_in_page(stack: Stack) -> None:
    worker = stack.start_worker("events", STRIPE_SECRET_KEY="")
    wait_until(worker.is_ready)
    await_linked(worker)
    stack.nsqd.publish(stack.events_topic, *[b"waits"] * 1001)
    wait_until(lambda: worker.metric("subkeeper_channel_depth", lane="events") == 1001, 30)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperEventsWait"}


def test_what_events_tell_of_others_mistakes_is_told_and_refreshes_that_wait_page(stack: Stack, tmp_path: Path) -> None:
    stack.start_worker()
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    event = stack.events("customer.created")[0]
    second = {**event["data"]["object"], "id": "cus_second"}
    worker = stack.start_worker("events")
    wait_until(worker.is_ready)
    await_linked(worker)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=20)
    stack.hear({**event, "id": "evt_2", "data": {"object": second}}, {**event, "id": "evt_3", "livemode": True})
    wait_until(lambda: len(stack.outcomes()) == 2)
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES ('sub_1')")
    await_away(worker, "stripe_events")
    stack.rows("UPDATE subscription_refreshes SET marked_at = now() - interval '10 minutes'")
    wait_until(lambda: worker.metric("subkeeper_refreshes_oldest_age_seconds") > 300)
    stack.rows(
        "INSERT INTO failing_invoices (stripe_invoice_id, marked_at) VALUES ('in_1', now() - interval '2 hours')"
    )
    wait_until(lambda: worker.metric("subkeeper_charges_oldest_age_seconds") > 3600)
    monitor.scrape(minutes=2)
    assert monitor.firing() == {
        "SubkeeperCustomersConflict", "SubkeeperWrongMode", "SubkeeperRefreshesWait", "SubkeeperChargesWait",
    }  # fmt: skip
    monitor.agree_with_promtool(tmp_path)


def test_the_first_user_in_quarantine_is_told(stack: Stack, tmp_path: Path) -> None:
    monitor = watched(await_ready(stack.start_worker()))
    stack.publish({"email": "nobody@example.org"})
    wait_until(lambda: monitor.workers["a"].metric("subkeeper_in_quarantine", kind="message"))
    monitor.scrape()
    assert [labels["reason"] for labels in monitor.labels("SubkeeperQuarantineGrows")] == ["id_missing"]
    monitor.agree_with_promtool(tmp_path)
    monitor.scrape(minutes=61)
    assert monitor.firing() == {"SubkeeperQuarantineWaits"}


def test_a_profile_that_only_a_backfill_brought_is_told_and_a_large_backfill_wakes_nobody(
    stack: Stack, tmp_path: Path
) -> None:
    stack.control.fault("status", match={"path": "/v1/customers"}, status=503)
    worker = await_ready(stack.start_worker())
    monitor = watched(worker)
    stack.publish(profile("ada"), topic=stack.backfill_topic)
    wait_until(lambda: stack.ledger("ada"))
    stack.rows("UPDATE provisionings SET first_seen_at = now() - interval '1 day'")
    wait_until(lambda: worker.metric("subkeeper_queue_oldest_age_seconds", lane="backfill") > 80_000)
    monitor.scrape(minutes=10)
    assert monitor.firing() == {"SubkeeperProfilesWereMissing"}
    stack.rows("UPDATE provisionings SET first_seen_at = now() - interval '3 days'")
    wait_until(lambda: worker.metric("subkeeper_queue_oldest_age_seconds", lane="backfill") > 200_000)
    monitor.scrape()
    assert monitor.firing() == {"SubkeeperProfilesWereMissing", "SubkeeperBackfillWaits"}
    monitor.agree_with_promtool(tmp_path)


def test_changes_that_nobody_publishes_page_and_one_that_nsqd_refuses_is_told(stack: Stack, tmp_path: Path) -> None:
    worker = await_ready(stack.start_worker())
    monitor = watched(worker)
    stack.rows(
        "INSERT INTO subscription_changes (user_id, stripe_subscription_id, version, after, cause, created_at)"
        " VALUES ('ada', 'sub_1', 1, '{}', 'provisioned', now() - interval '1 hour')"
    )
    wait_until(lambda: worker.metric("subkeeper_changes_oldest_unsent_seconds") > 3000)
    monitor.scrape()
    assert monitor.firing() == {"SubkeeperChangesWait"}
    stack.rows("UPDATE subscription_changes SET refused_at = now()")
    wait_until(lambda: worker.metric("subkeeper_changes_refused") == 1)
    monitor.scrape()
    assert monitor.firing() == {"SubkeeperChangesRefused"}
    monitor.agree_with_promtool(tmp_path)


def test_events_that_nobody_processes_page_ever_louder(stack: Stack, tmp_path: Path) -> None:
    """Any process tells, though none polls."""
    stack.rows("INSERT INTO stripe_event_cursor (created) VALUES (now())")
    worker = await_ready(stack.start_worker())
    monitor = watched(worker)

    def be_behind(by: timedelta) -> set[str]:
        stack.rows("UPDATE stripe_event_cursor SET created = now() - %s", by)
        wait_until(lambda: worker.metric("subkeeper_events_behind_seconds") >= by.total_seconds())
        monitor.scrape(minutes=6)
        return monitor.firing()

    assert be_behind(timedelta(hours=3)) == {"SubkeeperEventsBehind"}
    assert be_behind(timedelta(days=11)) == {"SubkeeperEventsBehind", "SubkeeperEventsSoonGone"}
    stack.rows("UPDATE stripe_event_cursor SET created = now(), gap_from = now() - interval '31 days', gap_to = now()")
    wait_until(lambda: worker.metric("subkeeper_events_gap_seconds") > 0)
    monitor.scrape(minutes=61)
    assert monitor.firing() == {"SubkeeperEventsGone"}
    monitor.agree_with_promtool(tmp_path)


def test_profiles_that_no_process_can_open_page(stack: Stack) -> None:
    stack.control.fault("status", match={"path": "/v1/customers", "method": "POST"}, status=503)
    first = stack.start_worker()
    stack.publish(profile("ada"))
    wait_until(lambda: stack.ledger("ada"))
    first.stop()
    worker = stack.start_worker(SUBKEEPER_SECRET_KEY="another-example-of-a-secret-key-of-more-than-32")
    wait_until(lambda: worker.metric("subkeeper_unopenable_profiles") == 1)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=11)
    assert "SubkeeperProfilesWaitForAKey" in monitor.firing()


def test_leases_that_are_lost_are_told(stack: Stack) -> None:
    stack.control.fault("latency", match={"path": "/v1/customers", "method": "POST"}, ms=1500)
    worker = await_ready(stack.start_worker(SUBKEEPER_SETTLE__THREADS="16"))
    monitor = watched(worker)
    for batch in range(3):
        names = users(8, prefix=f"batch-{batch}")
        stack.publish(*[profile(name) for name in names])
        await_leased(stack, *names)
        stack.rows("UPDATE provisionings SET lease_token = lease_token + 1 WHERE state = 'pending'")
    wait_until(lambda: worker.metric("subkeeper_leases_lost_total") >= 15, 30)
    monitor.scrape()
    assert "SubkeeperLeasesLost" in monitor.firing()


def test_a_process_that_is_gone_and_one_that_comes_again_and_again_page(stack: Stack, tmp_path: Path) -> None:
    worker = stack.spawn_worker()
    wait_until(worker.is_ready)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=5)
    for _ in range(3):
        worker.kill()
        worker = stack.spawn_worker()
        wait_until(worker.is_ready)
        monitor.workers["a"] = worker
        monitor.scrape()
    assert monitor.firing() == {"SubkeeperRestarts"}
    worker.kill()
    monitor.scrape(minutes=6)
    assert monitor.firing() == {"SubkeeperRestarts", "SubkeeperMissing"}
    monitor.agree_with_promtool(tmp_path)


def test_a_halt_by_an_archived_price_pages(stack: Stack) -> None:
    monitor = watched(await_ready(stack.start_worker()))
    stack.call_stripe("POST", f"/v1/prices/{stack.price()['id']}", active="false")
    stack.publish(profile("ada"))
    await_away(monitor.workers["a"], "stripe")
    monitor.scrape(minutes=2)
    assert monitor.firing() == {"SubkeeperSettlingHalted"}


def test_a_batch_that_cannot_be_committed_pages(own_stack: Stack) -> None:
    worker = await_ready(own_stack.start_worker())
    own_stack.rows("ALTER DATABASE subkeeper SET default_transaction_read_only = on")
    own_stack.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    own_stack.publish(profile("ada"))
    wait_until(lambda: worker.metric("subkeeper_batch_in_hand_seconds") > 1)
    stuck = next(rule for rule in read_rules() if rule.alert == "SubkeeperAbsorbingStuck")
    impatient = replace(stuck, expr=stuck.expr.replace("> 60", "> 1"))
    assert impatient.expr != stuck.expr
    monitor = Monitor({"a": worker}, [impatient])
    monitor.scrape()
    assert monitor.firing() == {"SubkeeperAbsorbingStuck"}


def test_a_clock_that_differs_from_the_others_pages(stack: Stack, tmp_path: Path) -> None:
    worker = await_ready(stack.start_worker())
    stack.control.jump(-3600)
    stack.publish(profile("ada"))
    wait_until(lambda: worker.metric("subkeeper_clock_skew_seconds", clock="stripe") < -3000)
    monitor = Monitor({"a": worker})
    monitor.scrape(minutes=2)
    assert [labels["clock"] for labels in monitor.labels("SubkeeperClocksDiffer")] == ["stripe"]
    monitor.agree_with_promtool(tmp_path)

"""Stripe's events come to NSQ by polling: all of them, in order, again if they are lost, and from one process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from tests.conftest import NewNsqd
from tests.integration.polling.conftest import Consumer, cursor, customer
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.domain import awaited
from worker.domain.deadline import boot_time
from worker.domain.event import Event
from worker.domain.polling import month_end
from worker.events import intake, leadership, listing
from worker.events.reading import pruned
from worker.runtime import poller as runtime_poller
from worker.store.engine.database import Database
from worker.store.engine.errors import LeaseLost


def event_reads(stack: Stack) -> list[dict[str, object]]:
    return [each["params"] for each in stack.requests("GET", "/v1/events")]


def behind(stack: Stack) -> timedelta:
    found: timedelta = stack.rows("SELECT now() - greatest(created, caught_up_at) AS by FROM stripe_event_cursor")[0][
        "by"
    ]
    return found


def polls_on(stack: Stack, polls: int = 2) -> None:
    """Returns after so many more of them."""
    until = len(event_reads(stack)) + polls
    wait_until(lambda: len(event_reads(stack)) >= until, what="polls")


def test_events_come_signed_and_in_order_and_the_cursor_waits_until_they_are_processed(
    polled: Stack, consumer: Consumer
) -> None:
    made = [customer(polled, f"name-{number}")["id"] for number in range(5)]
    polled.start_worker("poller")
    heard = consumer.take(5)
    assert [(each.type, each.object_id, each.source) for each in heard] == [
        ("customer.created", customer_id, "poll") for customer_id in made
    ]
    consumer.record(heard[0], heard[1], heard[4])
    polls_on(polled)
    assert cursor(polled)["created"] <= heard[2].created
    assert cursor(polled)["caught_up_at"] is None
    consumer.record(heard[2], heard[3])
    wait_until(lambda: behind(polled) < timedelta(seconds=1), what="caught up")
    assert cursor(polled)["created"] == heard[4].created
    assert consumer.takes_nothing(0.5), "each is published once"


def test_events_of_one_second_and_those_that_a_list_shows_late_are_all_found(polled: Stack, consumer: Consumer) -> None:
    polled.control.event_lag(1.5)
    polled.control.freeze()
    polled.start_worker("poller")
    made = {customer(polled, f"name-{number}")["id"] for number in range(8)}
    polled.control.freeze(frozen=False)
    heard = []
    for _ in range(8):
        heard += consumer.take(1)
        consumer.record(heard[-1])
    assert {each.object_id for each in heard} == made


def test_an_event_that_is_listed_late_is_found_behind_a_younger_one_that_the_cursor_has_passed(
    polled: Stack, consumer: Consumer
) -> None:
    """Stripe's clock goes back between the two, so that the older one can't have been listed before."""
    polled.start_worker("poller")
    customer(polled, "younger")
    (younger,) = consumer.take(1)
    consumer.record(younger)
    wait_until(lambda: cursor(polled)["created"] == younger.created, what="the cursor is there")
    polled.control.jump(-30)
    late = customer(polled, "late")["id"]
    (found,) = consumer.take(1)
    assert found.object_id == late
    assert found.created < younger.created
    wait_until(lambda: cursor(polled)["created"] == found.created, what="it takes the cursor back")
    consumer.record(found)
    wait_until(lambda: cursor(polled)["created"] == younger.created, what="it is passed")


def test_what_the_broker_loses_is_published_again_but_not_at_once_and_not_into_a_deep_channel(
    polled: Stack, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited, "AGAIN", timedelta(seconds=1))
    monkeypatch.setattr(intake, "DEEP", 0)
    worker = polled.start_worker("poller")
    customer(polled)
    lost = consumer.take(1)
    assert consumer.takes_nothing(0.7)
    consumer.close()
    polled.nsqd.publish(polled.events_topic, b"somebody else's flood")
    wait_until(lambda: "wait in the channel" in worker.part("poller")[1], what="it waits for the channel")
    polls = len(event_reads(polled))
    polled.nsqd.http("POST", "/channel/empty", topic=polled.events_topic, channel="subkeeper")
    wait_until(lambda: polled.nsqd.channel(polled.events_topic, "subkeeper")["depth"] == 1, what="published again")
    assert len(event_reads(polled)) <= polls + 2, "Stripe isn't asked for what can't be published"
    assert cursor(polled)["created"] <= lost[0].created
    assert worker.metric("subkeeper_polled_events_total", outcome="published_again") == 1


def test_while_webhooks_deliver_polls_are_rare_and_every_other_one_asks_for_what_they_did_not(
    polled: Stack, consumer: Consumer
) -> None:
    """Each request is counted, and each takes the place of a poll."""
    customer(polled)
    polled.start_worker("poller")
    consumer.record(*consumer.take(1), source="webhook")
    wait_until(lambda: sum("delivery_success" in each for each in event_reads(polled)) >= 3, what="sweeps")
    asked = ["delivery_success" in each for each in event_reads(polled)]
    first = asked.index(True)
    assert asked[first : first + 5] == [True, False, True, False, True]
    polled.control.put_key(polled.stripe.secret_key, revoked=True)
    wait_until(lambda: reads_of_polls(polled) == len(event_reads(polled)))


def test_the_months_reads_are_not_exceeded_however_often_it_is_restarted(polled: Stack) -> None:
    polled.rows("INSERT INTO stripe_reads SELECT date_trunc('month', now() AT TIME ZONE 'UTC'), 'polls', 797")

    def poll_once() -> None:
        worker = polled.start_worker("poller", SUBKEEPER_STRIPE__MONTHLY_READS="1000")
        wait_until(lambda: "reads" in worker.part("poller")[1], what="it polled, or could not")
        worker.stop()

    for _ in range(4):
        polled.rows("UPDATE stripe_event_cursor SET poll_at = NULL")
        poll_once()
    assert len(event_reads(polled)) == 3
    assert reads_of_polls(polled) == 800


def reads_of_polls(stack: Stack) -> int:
    count: int = stack.rows("SELECT reads FROM stripe_reads WHERE purpose = 'polls'")[0]["reads"]
    return count


def left_of_the_month() -> timedelta:
    """Until new reads are granted, in UTC."""
    now = datetime.now(UTC)
    return month_end(now) - now


def test_a_restart_polls_no_sooner_than_the_reads_last(polled: Stack) -> None:
    environ = {"SUBKEEPER_STRIPE__MONTHLY_READS": "10000"}
    worker = polled.start_worker("poller", **environ)
    wait_until(lambda: "polls every" in worker.part("poller")[1])
    worker.stop()
    due = cursor(polled)["poll_at"] - datetime.now(UTC)
    assert min(timedelta(minutes=5), left_of_the_month() - timedelta(minutes=1)) < due
    again = polled.start_worker("poller", **environ)
    wait_until(again.is_ready)
    again.stop()
    assert len(event_reads(polled)) == 1


def test_a_gap_beyond_what_stripe_keeps_is_loud_and_the_rest_comes_all_the_same(
    polled: Stack, consumer: Consumer
) -> None:
    polled.rows("UPDATE deployment SET created_at = now() - interval '31 days'")
    customer(polled)
    worker = polled.start_worker("poller")
    consumer.record(*consumer.take(1))
    wait_until(lambda: behind(polled) < timedelta(seconds=1), what="caught up")
    ok, detail = worker.part("poller")
    assert ok
    assert "can't be had any more: run `subkeeper verify --repair`" in detail
    wait_until(lambda: worker.metric("subkeeper_events_days_left") > 29, what="it is shown")
    assert worker.metric("subkeeper_events_gap_seconds") == pytest.approx(90_000, abs=60)
    assert worker.metric("subkeeper_events_behind_seconds") < 5
    assert consumer.heals_gap(), "what `verify --repair` says once it is through"
    wait_until(lambda: worker.metric("subkeeper_events_gap_seconds") == 0, what="it is over")


def test_a_gap_that_follows_one_that_was_not_healed_leaves_both_to_be_compared(polled: Stack) -> None:
    polled.rows("""
        INSERT INTO stripe_event_cursor (created, gap_from, gap_to)
        VALUES (now() - interval '31 days', now() - interval '50 days', now() - interval '40 days')
    """)
    before = cursor(polled)
    worker = polled.start_worker("poller")
    wait_until(lambda: cursor(polled)["gap_to"] > before["gap_to"], what="the later one is noted")
    assert cursor(polled)["gap_from"] == before["gap_from"]
    since = f"{before['gap_from'].astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    wait_until(lambda: f"events from {since} to" in worker.part("poller")[1], what="it is told from where on")
    wait_until(lambda: behind(polled) < timedelta(seconds=1), what="caught up")
    assert cursor(polled)["gap_from"] == before["gap_from"]


def test_a_key_that_may_not_read_events_stops_nothing_but_the_poller(polled: Stack) -> None:
    everything = ("account", "customer", "product", "plan", "subscription")
    polled.control.put_key("rk_test_restricted", [f"{each}_write" for each in everything])
    worker = polled.start_worker("all", STRIPE_SECRET_KEY="rk_test_restricted")
    wait_until(lambda: "status=403" in worker.part("poller")[1], what="it is told")
    polled.publish(profile("ada"))
    polled.await_completed("ada")
    assert not worker.is_ready()
    polled.control.put_key("rk_test_restricted", [f"{each}_write" for each in (*everything, "event")])
    wait_until(worker.is_ready, what="it goes on")


def test_a_refused_key_is_told_for_as_long_as_it_is_refused(polled: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_poller, "ASK_AGAIN", 0.5)
    worker = polled.start_worker("poller", STRIPE_SECRET_KEY="sk_test_nobodys")
    wait_until(lambda: "status=401" in worker.part("poller")[1], what="it is told")
    asked, told = len(polled.requests("GET", "/v1/account")), set[bool]()

    def asked_again() -> bool:
        told.add("status=401" in worker.part("poller")[1] and worker.get("/healthz")[0] == 503)
        return len(polled.requests("GET", "/v1/account")) > asked + 1

    wait_until(asked_again, what="it is tried again")
    assert told == {True}
    polled.control.put_key("sk_test_nobodys")
    wait_until(worker.is_ready, what="it goes on")


def test_what_is_no_event_is_refused_once_and_holds_nothing_up(
    polled: Stack, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = customer(polled)["id"]

    def spoilt(event: dict[str, object], source: str) -> object:
        data = event["data"]
        assert isinstance(data, dict)
        return pruned({**event, "data": None} if data["object"]["id"] == bad else event, source)

    monkeypatch.setattr(listing, "pruned", spoilt)
    customer(polled)
    worker = polled.start_worker("poller")
    consumer.record(*consumer.take(1))
    wait_until(lambda: behind(polled) < timedelta(seconds=1), what="caught up")
    polls_on(polled)
    assert polled.rows("SELECT source FROM processed_stripe_events WHERE outcome = 'refused'") == [{"source": "poll"}]
    assert worker.metric("subkeeper_polled_events_total", outcome="refused") == 1


@pytest.fixture
def small(new_stack: NewStack, new_nsqd: NewNsqd, quick: None) -> Callable[[int], Stack]:
    """Set up, with an nsqd that takes messages of so many bytes; the poller isn't started yet."""

    def make(max_msg_size: int) -> Stack:
        nsqd = new_nsqd(flags=[f"--max-msg-size={max_msg_size}"])
        stack = new_stack(nsqd=nsqd, SUBKEEPER_STRIPE__MONTHLY_READS="1000000000")
        stack.setup()
        return stack

    return make


def large_customer(stack: Stack) -> str:
    """Its events have 1,500 bytes more than those of others."""
    ours = {f"metadata[{key}]": "x" * 500 for key in ("subkeeper", "user_id", "project_id")}
    return str(stack.call_stripe("POST", "/v1/customers", **ours)["id"])


def refused_events(stack: Stack) -> list[dict[str, object]]:
    return stack.rows("SELECT stripe_event_id, source FROM processed_stripe_events WHERE outcome = 'refused'")


def test_an_event_that_nsqd_refuses_for_its_size_is_recorded_and_holds_nothing_up(
    small: Callable[[int], Stack], new_consumer: Callable[[Stack], Consumer]
) -> None:
    stack = small(1000)
    consumer = new_consumer(stack)
    made = {customer(stack, "before")["id"]}
    large = large_customer(stack)
    made.add(customer(stack, "after")["id"])
    (event,) = [each for each in stack.events("customer.created") if each["data"]["object"]["id"] == large]
    with capture_logs() as logs:
        worker = stack.start_worker("poller")
        heard = consumer.take(2)
        assert {each.object_id for each in heard} == made
        consumer.record(*heard)
        wait_until(lambda: behind(stack) < timedelta(seconds=1), what="caught up")
        polls_on(stack)
    assert refused_events(stack) == [{"stripe_event_id": event["id"], "source": "poll"}]
    (told,) = [line for line in logs if line["event"] == "event.refused"]
    assert (told["event_id"], told["reason"]) == (event["id"], "message_too_big")
    assert worker.metric("subkeeper_polled_events_total", outcome="refused") == 1
    assert worker.metric("subkeeper_polled_events_total", outcome="published") == 2
    assert consumer.takes_nothing(0.5), "each is published once"


def test_what_nsqd_refuses_of_every_event_is_no_events_fault_and_is_waited_for(
    small: Callable[[int], Stack], new_consumer: Callable[[Stack], Consumer]
) -> None:
    stack = small(100)
    made = [customer(stack, f"name-{number}")["id"] for number in range(3)]
    worker = stack.start_worker("poller")
    wait_until(lambda: "--max-msg-size" in worker.part("poller")[1], what="it is told")
    polls_on(stack)
    assert not worker.is_ready()
    assert refused_events(stack) == []
    stack.nsqd.stop()
    stack.nsqd._flags = ()
    stack.nsqd.start()
    consumer = new_consumer(stack)
    heard = consumer.take(3)
    assert [each.object_id for each in heard] == made
    consumer.record(*heard)
    wait_until(lambda: behind(stack) < timedelta(seconds=1), what="caught up")
    wait_until(worker.is_ready)


def test_a_lone_event_that_nsqd_refuses_is_recorded_once_nsqd_takes_another_one(
    small: Callable[[int], Stack], new_consumer: Callable[[Stack], Consumer]
) -> None:
    """Until then nobody can tell whose fault it is, and nobody else waits."""
    stack = small(1000)
    consumer = new_consumer(stack)
    large_customer(stack)
    worker = stack.start_worker("poller")
    wait_until(lambda: "--max-msg-size" in worker.part("poller")[1], what="it is told")
    polls_on(stack)
    assert refused_events(stack) == []
    other = customer(stack)["id"]
    heard = consumer.take(1)
    assert heard[0].object_id == other
    consumer.record(*heard)
    wait_until(lambda: len(refused_events(stack)) == 1, what="it is recorded")
    wait_until(lambda: cursor(stack)["created"] == heard[0].created, what="it is passed")
    wait_until(worker.is_ready)


def test_one_of_two_polls_and_the_other_takes_over(
    polled: Stack, new_consumer: Callable[[Stack], Consumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "LEASE", timedelta(seconds=1))
    consumer = new_consumer(polled)
    first = polled.start_worker("poller")
    wait_until(lambda: "polls every" in first.part("poller")[1])
    second = polled.start_worker("poller")
    wait_until(lambda: "another process polls" in second.part("poller")[1])
    consumer.record(*(customer(polled) and consumer.take(1)))
    assert first.stop() == 0
    wait_until(lambda: "polls every" in second.part("poller")[1], 2, "it takes over")
    customer(polled)
    consumer.record(*consumer.take(1))
    wait_until(lambda: behind(polled) < timedelta(seconds=1))


def test_the_lead_is_left_to_who_holds_it_until_his_lease_has_ended(
    polled: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "LEASE", timedelta(hours=1))
    with closing(Database(polled.settings().database)) as database:
        holder, other = (leadership.Leadership(database, 10_000, boot_time) for _ in range(2))
        holder.take()
        for _ in range(2):
            other.take()
            assert not other.is_held
        with holder.write() as row:
            row.poll_at(row.standing.now)
        polled.rows("UPDATE stripe_event_cursor SET lease_until = now()")
        other.take()
        assert other.is_held
        with pytest.raises(LeaseLost), holder.write():
            pass


def test_a_broker_that_loses_its_disk_costs_no_event(
    new_stack: NewStack, new_nsqd: NewNsqd, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nsqd is killed, its data directory is emptied: not even its channel is left."""
    monkeypatch.setattr(awaited, "AGAIN", timedelta(seconds=1))
    stack = new_stack(nsqd=new_nsqd(), SUBKEEPER_STRIPE__MONTHLY_READS="1000000000")
    stack.setup()
    stack.start_worker("poller")
    for number in range(3):
        customer(stack, f"name-{number}")
    wait_until(lambda: stack.nsqd.channel(stack.events_topic, "subkeeper")["depth"] == 3, what="they are on its disk")
    stack.nsqd.kill()
    for file in stack.nsqd.directory.iterdir():
        file.unlink()
    stack.nsqd.start()
    stack.start_worker("events")
    made = {each["id"] for each in stack.events("customer.created")}
    wait_until(lambda: stack.outcomes().keys() == made, what="all are processed")
    wait_until(lambda: behind(stack) < timedelta(seconds=1), what="caught up")


def test_while_nsqd_is_away_stripe_keeps_the_events(
    new_stack: NewStack,
    new_nsqd: NewNsqd,
    new_consumer: Callable[[Stack], Consumer],
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """nsqd is killed and loses what it had in memory; what it missed meanwhile comes, and what it lost comes again."""
    monkeypatch.setattr(awaited, "AGAIN", timedelta(seconds=1))
    stack = new_stack(nsqd=new_nsqd(), SUBKEEPER_STRIPE__MONTHLY_READS="1000000000")
    stack.setup()
    worker = stack.start_worker("poller")
    made = [customer(stack, "before")["id"]]
    wait_until(lambda: stack.nsqd.channel(stack.events_topic, "subkeeper")["depth"] == 1, what="it is published")
    stack.nsqd.kill()
    made.append(customer(stack, "meanwhile")["id"])
    wait_until(lambda: not worker.part("poller")[0], what="it says that nsqd is away")
    stack.nsqd.start()
    consumer = new_consumer(stack)
    heard = consumer.take(2)
    assert {each.object_id for each in heard} == set(made)
    consumer.record(*heard)
    wait_until(lambda: behind(stack) < timedelta(seconds=1), what="caught up")
    assert worker.part("poller")[0]


def test_an_event_of_the_future_takes_the_cursor_no_further_than_the_present_nor_back_what_was_known(
    polled: Stack, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a test clock that is ahead."""

    def ahead(event: dict[str, object], source: str) -> Event:
        return pruned(event, source)._replace(created=datetime.now(UTC).replace(microsecond=0) + timedelta(days=2))

    customer(polled)
    monkeypatch.setattr(listing, "pruned", ahead)
    worker = polled.start_worker("poller")
    consumer.record(*consumer.take(1))
    wait_until(lambda: behind(polled) < timedelta(seconds=1), what="caught up")
    polls_on(polled)
    assert behind(polled) > timedelta(0)
    worker.stop()
    known = cursor(polled)["caught_up_at"]
    database = Database(polled.settings().database)
    lead = leadership.Leadership(database, 10_000, boot_time)
    lead.take()
    with lead.write() as row:
        row.advance(row.standing.created - timedelta(minutes=1), None)
    assert cursor(polled)["caught_up_at"] == known
    database.close()

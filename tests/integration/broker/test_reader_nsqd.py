"""The reader against a real nsqd, which is restarted, killed and held."""

from __future__ import annotations

import select
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from sandbox.nsq import Nsqd
from sandbox.workspace import Workspace
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import CHANNEL, NewReader, is_whole, ready, receive, settings_for, until
from worker.broker.publisher import Publisher
from worker.settings.sections import NsqSettings


def test_a_message_arrives_with_its_topic_body_attempts_and_time(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    before = datetime.now(UTC)
    nsqd.publish(topic, b"hello")
    [message] = receive(new_reader(settings_for(nsqd.tcp_address), topic), 1)
    assert (message.topic, message.body, message.attempts, len(message.id)) == (topic, b"hello", 1, 16)
    assert before - timedelta(seconds=1) <= message.published_at <= datetime.now(UTC) + timedelta(seconds=1)


def test_a_message_comes_in_milliseconds_and_not_with_nsqds_quarter_of_a_second(
    nsqd: Nsqd, topic: str, new_reader: NewReader, new_publisher: Callable[[NsqSettings], Publisher]
) -> None:
    settings = settings_for(nsqd.tcp_address)
    reader, publisher = new_reader(settings, topic), new_publisher(settings)
    until(lambda: reader.connected, reader)
    waits = []
    for number in range(20):
        publisher.publish(topic, [b"%d" % number])
        published = time.monotonic()
        receive(reader, 1)
        waits.append(time.monotonic() - published)
    assert statistics.median(waits) < 0.06, waits


def test_finish_reaches_nsqd_without_another_read(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    nsqd.publish(topic, *[b"%d" % number for number in range(50)])
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    messages = receive(reader, 50, finish=False)
    assert nsqd.channel(topic, CHANNEL)["in_flight_count"] == 50
    reader.finish(messages)
    until(lambda: nsqd.channel(topic, CHANNEL)["in_flight_count"] == 0)
    assert nsqd.channel(topic, CHANNEL)["depth"] == 0


def test_a_requeued_message_comes_again_after_its_delay_in_seconds(
    nsqd: Nsqd, topic: str, new_reader: NewReader
) -> None:
    nsqd.publish(topic, b"later")
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    reader.requeue(receive(reader, 1, finish=False), delay=0.5)
    requeued = time.monotonic()
    [message] = receive(reader, 1)
    assert time.monotonic() - requeued >= 0.45
    assert message.attempts == 2
    assert (reader.counts.requeued, reader.counts.redelivered, reader.counts.received) == (1, 1, 2)


def test_a_message_that_timed_out_is_finished_without_harm(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    nsqd.publish(topic, b"slow")
    reader = new_reader(settings_for(nsqd.tcp_address, msg_timeout=1.0), topic)
    first = receive(reader, 1, finish=False)
    until(lambda: nsqd.channel(topic, CHANNEL)["timeout_count"] >= 1)
    [again] = receive(reader, 1)
    reader.finish(first)  # it is finished already
    assert again.id == first[0].id
    nsqd.publish(topic, b"next")
    assert receive(reader, 1)[0].body == b"next"
    assert len(nsqd.channel(topic, CHANNEL)["clients"]) == 1


def test_a_fin_that_nsqd_refuses_costs_no_connection(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    nsqd.publish(topic, b"slow")
    reader = new_reader(settings_for(nsqd.tcp_address, msg_timeout=1.0), topic)
    late = receive(reader, 1, finish=False)
    reader.pause()
    until(lambda: nsqd.channel(topic, CHANNEL)["timeout_count"] >= 1)
    reader.finish(late)  # E_FIN_FAILED
    reader.resume()
    assert receive(reader, 1)[0].attempts > 1
    assert reader.connected


def test_a_restarted_nsqd_is_read_again_within_seconds(new_nsqd: NewNsqd, topic: str, new_reader: NewReader) -> None:
    nsqd = new_nsqd()
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    nsqd.stop()
    until(lambda: not reader.connected, reader)
    nsqd.start()
    nsqd.publish(topic, b"after")
    assert receive(reader, 1, timeout=5)[0].body == b"after"


def test_what_was_received_before_a_kill_is_still_handed_out(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader
) -> None:
    nsqd = new_nsqd()
    nsqd.publish(topic, *[b"%d" % number for number in range(20)])
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    messages = receive(reader, 1, finish=False)
    until(lambda: nsqd.channel(topic, CHANNEL).get("in_flight_count") == 20, reader)
    nsqd.kill()
    messages += receive(reader, 19, finish=False)
    until(lambda: not reader.connected, reader)
    reader.finish(messages)  # nobody to tell: no error either
    assert {message.body for message in messages} == {b"%d" % number for number in range(20)}
    assert reader.counts.orphaned == 20
    assert sum(reader.counts.disconnects.values()) == 1


def test_an_nsqd_that_is_away_costs_no_cpu(new_nsqd: NewNsqd, topic: str, new_reader: NewReader) -> None:
    nsqd = new_nsqd()
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    nsqd.kill()
    until(lambda: not reader.connected, reader)
    before = time.process_time()
    assert reader.read(100, 2.0) == []
    assert time.process_time() - before < 0.4, "2 s of turning round and round would cost as much"


def test_an_idle_reader_costs_no_cpu(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    before = time.process_time()
    assert reader.read(100, 2.0) == []
    assert time.process_time() - before < 0.4, "2 s of turning round and round would cost as much"


def test_heartbeats_keep_an_idle_connection(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    with structlog.testing.capture_logs() as logs:
        assert reader.read(100, 3.5) == []
    assert logs == []
    assert len(nsqd.channel(topic, CHANNEL)["clients"]) == 1


def test_a_held_nsqd_is_noticed_after_two_heartbeats_and_read_again_later(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader
) -> None:
    nsqd = new_nsqd()
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    nsqd.pause()
    with structlog.testing.capture_logs() as logs:
        until(lambda: not reader.connected, reader, timeout=5)
    nsqd.resume()
    assert [entry["reason"] for entry in logs if entry["event"] == "nsqd.disconnected"] == ["silent"]
    # Until nsqd has seen that the former connection is closed, it may hand a message to that.
    until(lambda: reader.connected and len(nsqd.channel(topic, CHANNEL)["clients"]) == 1, reader)
    nsqd.publish(topic, b"after")
    assert receive(reader, 1)[0].body == b"after"


def test_an_nsqd_that_hangs_does_not_keep_us_from_another(
    new_nsqd: NewNsqd, nsqd: Nsqd, topic: str, new_reader: NewReader
) -> None:
    hung = new_nsqd()
    hung.pause()
    try:
        reader = new_reader(settings_for(hung.tcp_address, nsqd.tcp_address, connect_timeout=10.0), topic)
        nsqd.publish(topic, b"here")
        began = time.monotonic()
        receive(reader, 1)
        assert time.monotonic() - began < 8
    finally:
        hung.resume()


def test_a_consumer_that_blocked_past_its_heartbeats_loses_the_connection_and_nothing_else(
    nsqd: Nsqd, topic: str, new_reader: NewReader
) -> None:
    nsqd.publish(topic, b"precious")
    reader = new_reader(settings_for(nsqd.tcp_address, msg_timeout=4.0), topic)
    late = receive(reader, 1, finish=False)
    until(lambda: not nsqd.channel(topic, CHANNEL)["clients"])  # nobody reads: nsqd hangs up
    reader.finish(late)
    [again] = receive(reader, 1)
    assert (again.id, again.attempts) == (late[0].id, 2)


def test_more_connections_than_max_in_flight_take_turns(new_nsqd: NewNsqd, topic: str, new_reader: NewReader) -> None:
    brokers = [new_nsqd() for _ in range(3)]
    for broker in brokers:
        broker.publish(topic, *[b"%d" % broker.tcp_port] * 5)
    reader = new_reader(settings_for(*[broker.tcp_address for broker in brokers], max_in_flight=1), topic)
    seen: Counter[bytes] = Counter()
    deadline = time.monotonic() + 20
    while sum(seen.values()) < 15 and time.monotonic() < deadline:
        batch = reader.read(100, 0.1)
        assert len(batch) <= 1
        if batch:
            assert reader.read(100, 0.0) == []  # one is in hand, so no other may be
        seen.update(message.body for message in batch)
        reader.finish(batch)
    assert seen == {b"%d" % broker.tcp_port: 5 for broker in brokers}


class CountingClock:
    """The monotonic clock; the reader asks it a few times for each turn of its loop."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return time.monotonic()


@pytest.mark.parametrize("paused", [False, True], ids=["gone", "paused"])
def test_a_reader_whose_connections_took_turns_sleeps_once_they_are_gone_or_paused(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader, paused: bool
) -> None:
    brokers = [new_nsqd() for _ in range(3)]
    clock = CountingClock()
    settings = settings_for(*[broker.tcp_address for broker in brokers], max_in_flight=1)
    reader = new_reader(settings, topic, clock=clock)
    until(lambda: is_whole(reader), reader)
    reader.read(1, 0.5)
    if paused:
        reader.pause()
    else:
        for broker in brokers:
            broker.kill()
        until(lambda: not reader.connected, reader)
    clock.asked = 0
    assert reader.read(1, 1.5) == []
    assert clock.asked < 500, "thousands where the loop never sleeps, about a hundred with reconnects"


def test_shares_of_max_in_flight_go_by_weight_and_stay_within_it(
    new_nsqd: NewNsqd, new_topic: Callable[[], str], new_reader: NewReader
) -> None:
    live, backfill = new_topic(), new_topic()
    brokers = [new_nsqd() for _ in range(2)]
    for broker in brokers:
        broker.publish(live, *[b"l"] * 30)
        broker.publish(backfill, *[b"b"] * 30)
    settings = settings_for(*[broker.tcp_address for broker in brokers], max_in_flight=20)
    reader = new_reader(settings, weights={live: 3, backfill: 1})
    reader.pause()
    until(lambda: is_whole(reader), reader)
    reader.resume()
    held = receive(reader, 20, finish=False)
    assert reader.read(100, 0.3) == []
    assert sum(ready(broker, each) for broker in brokers for each in (live, backfill)) == 20
    assert 14 <= Counter(message.topic for message in held)[live] <= 16


def test_a_batch_starts_with_the_heavier_topic_and_has_both(
    nsqd: Nsqd, new_topic: Callable[[], str], new_reader: NewReader
) -> None:
    live, backfill = new_topic(), new_topic()
    nsqd.publish(backfill, *[b"b"] * 20)
    nsqd.publish(live, *[b"l"] * 20)
    reader = new_reader(settings_for(nsqd.tcp_address), weights={backfill: 1, live: 3})
    until(lambda: reader.counts.received == 40, reader)
    topics = [message.topic for message in reader.read(8, 1.0)]
    assert topics == [live] * 6 + [backfill] * 2


def test_max_in_flight_beyond_nsqds_limit_is_kept_to_it(new_nsqd: NewNsqd, topic: str, new_reader: NewReader) -> None:
    nsqd = new_nsqd(flags=["--max-rdy-count=7"])
    nsqd.publish(topic, *[b"x"] * 10)
    reader = new_reader(settings_for(nsqd.tcp_address, max_in_flight=100_000), topic)
    assert len(receive(reader, 10)) == 10
    assert ready(nsqd, topic) == 7


def test_a_paused_reader_keeps_the_channel_and_receives_nothing(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader
) -> None:
    brokers = [new_nsqd() for _ in range(2)]
    reader = new_reader(settings_for(*[broker.tcp_address for broker in brokers]), topic)
    reader.pause()
    until(lambda: is_whole(reader), reader)
    for broker in brokers:
        broker.create_channel(topic, "somebody_else")  # would take them all, were ours not there
        broker.publish(topic, b"kept")
    assert reader.read(100, 0.3) == []
    assert [broker.channel(topic, CHANNEL)["depth"] for broker in brokers] == [1, 1]
    reader.resume()
    assert len(receive(reader, 2)) == 2


def test_pausing_holds_back_what_has_arrived_until_it_resumes(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    nsqd.publish(topic, *[b"%d" % number for number in range(10)])
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    receive(reader, 1)
    reader.pause()
    assert reader.read(100, 0.2) == []
    reader.resume()
    assert len(receive(reader, 9)) == 9


def test_wake_ends_a_read_at_once(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    timer = threading.Timer(0.2, reader.wake)
    began = time.monotonic()
    timer.start()
    assert reader.read(100, 10.0) == []
    assert 0.1 < time.monotonic() - began < 8
    timer.join()


def test_a_wake_before_the_read_counts_too(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    reader.wake()
    began = time.monotonic()
    assert reader.read(100, 10.0) == []
    assert time.monotonic() - began < 8


def test_closing_leaves_no_connection_and_gives_back_what_was_not_finished(
    nsqd: Nsqd, topic: str, new_reader: NewReader
) -> None:
    nsqd.publish(topic, *[b"%d" % number for number in range(30)])
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    done, _undone = receive(reader, 10, finish=False), receive(reader, 5, finish=False)
    reader.stop_receiving()
    reader.finish(done)
    began = time.monotonic()
    reader.close(10.0)
    assert time.monotonic() - began < 8
    assert nsqd.channel(topic, CHANNEL)["clients"] == []
    assert nsqd.channel(topic, CHANNEL)["in_flight_count"] == 0
    until(lambda: nsqd.channel(topic, CHANNEL)["depth"] == 20)  # nsqd may still move some there from its topic
    assert reader.read(10, 1.0) == []
    reader.wake()


def test_closing_does_not_wait_for_an_nsqd_that_hangs(new_nsqd: NewNsqd, topic: str, new_reader: NewReader) -> None:
    nsqd = new_nsqd()
    reader = new_reader(settings_for(nsqd.tcp_address), topic)
    until(lambda: reader.connected, reader)
    nsqd.pause()
    began = time.monotonic()
    reader.close(0.5)
    assert time.monotonic() - began < 5
    nsqd.resume()


class Nsqd6(Nsqd):
    """Listens on IPv6, too."""

    def command(self) -> list[str]:
        return [*super().command(), f"--tcp-address=[::]:{self.tcp_port}"]


def test_an_ipv6_address_is_read_and_published_to(
    workspace: Workspace, topic: str, new_reader: NewReader, new_publisher: Callable[[NsqSettings], Publisher]
) -> None:
    with Nsqd6(workspace) as nsqd:
        settings = settings_for(f"[::1]:{nsqd.tcp_port}")
        new_publisher(settings).publish(topic, [b"six"])
        reader = new_reader(settings, topic)
        assert receive(reader, 1)[0].body == b"six"
        assert reader.links == (1, 1)


def test_tens_of_thousands_pass_one_connection_each_once(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader, new_publisher: Callable[[NsqSettings], Publisher]
) -> None:
    nsqd = new_nsqd(flags=["--mem-queue-size=100000"])
    settings = settings_for(nsqd.tcp_address, max_in_flight=2500)
    new_publisher(settings).publish(topic, [b"x" * 60] * 50_000)
    reader = new_reader(settings, topic)
    seen: set[bytes] = set()
    deadline = time.monotonic() + 60
    while len(seen) < 50_000 and time.monotonic() < deadline:
        batch = reader.read(1000, 1.0)
        reader.finish(batch)
        assert seen.isdisjoint(message.id for message in batch)
        seen.update(message.id for message in batch)
    assert len(seen) == 50_000


def test_a_name_that_stands_for_several_nsqds_is_read_at_one_and_said(
    new_nsqd: NewNsqd, topic: str, new_reader: NewReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a headless service's does; an IPv4 and an IPv6 address are usual for one nsqd, and nothing to say."""
    nsqd = new_nsqd()
    port, lookup = nsqd.tcp_port, socket.getaddrinfo
    names = {"service.example": ["127.0.0.1", "127.0.0.2"], "dual.example": ["127.0.0.1", "::1"]}

    def resolve(host: str, port: int, family: int = 0, *rest: int, **more: int) -> list[Any]:
        found = [each for address in names.get(host, [host]) for each in lookup(address, port, 0, *rest, **more)]
        return [each for each in found if family in {0, each[0]}]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with structlog.testing.capture_logs() as logs, socket.create_server(("127.0.0.2", port)) as other:
        reader = new_reader(settings_for(f"service.example:{port}", f"dual.example:{port}"), topic)
        until(lambda: is_whole(reader), reader)
        assert not select.select([other], [], [], 0)[0]
    shared = [entry for entry in logs if entry["event"] == "nsqd.name_shared"]
    assert [(entry["address"], entry["addresses"]) for entry in shared] == [(f"service.example:{port}", 2)]
    assert len(nsqd.channel(topic, CHANNEL)["clients"]) == 2

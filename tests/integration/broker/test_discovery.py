"""nsqlookupd tells where topics are; setup creates them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import structlog

from sandbox.nsq import Nsqd, Nsqlookupd
from sandbox.workspace import Workspace
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import CHANNEL, NewReader, receive, settings_for, until
from worker.broker import admin
from worker.broker.admin import ChannelDepths
from worker.broker.connections import FORGET_AFTER
from worker.broker.lookup import LookupClient
from worker.errors import Unavailable

NewLookupd = Callable[[], Nsqlookupd]


def test_every_nsqd_with_the_topic_is_found_also_a_later_one(
    new_nsqd: NewNsqd, nsqlookupd: Nsqlookupd, topic: str, new_reader: NewReader
) -> None:
    first, second = new_nsqd(lookupds=[nsqlookupd]), new_nsqd(lookupds=[nsqlookupd])
    first.publish(topic, b"first")
    reader = new_reader(settings_for(lookupd_http_addresses=(nsqlookupd.http_address,)), topic)
    assert receive(reader, 1)[0].body == b"first"
    second.publish(topic, b"second")
    assert receive(reader, 1)[0].body == b"second"
    assert all(len(broker.channel(topic, CHANNEL)["clients"]) == 1 for broker in (first, second))


def test_a_lookupd_that_goes_away_takes_no_connection_with_it(
    new_nsqd: NewNsqd, new_nsqlookupd: NewLookupd, topic: str, new_reader: NewReader
) -> None:
    lookupd = new_nsqlookupd()
    nsqd = new_nsqd(lookupds=[lookupd])
    nsqd.create_topic(topic)
    reader = new_reader(settings_for(lookupd_http_addresses=(lookupd.http_address,)), topic)
    until(lambda: reader.connected, reader)
    with structlog.testing.capture_logs() as logs:
        lookupd.kill()
        until(lambda: logs, reader)
        nsqd.restart()  # while nobody could tell us where it is
        nsqd.publish(topic, b"still")
        assert receive(reader, 1)[0].body == b"still"
        lookupd.start()
        until(lambda: logs[-1]["event"] == "nsqlookupd.recovered", reader)
    assert [entry["event"] for entry in logs].count("nsqlookupd.failed") == 1


class MovableClock:
    """The monotonic clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


def test_an_nsqd_that_left_is_missed_for_a_while_and_then_forgotten(
    new_nsqd: NewNsqd, nsqlookupd: Nsqlookupd, topic: str, new_reader: NewReader
) -> None:
    nsqd, clock = new_nsqd(lookupds=[nsqlookupd]), MovableClock()
    nsqd.create_topic(topic)
    settings = settings_for(lookupd_http_addresses=(nsqlookupd.http_address,))
    reader = new_reader(settings, topic, clock=clock)
    until(lambda: reader.connected, reader)
    nsqd.stop()
    until(lambda: not reader.connected, reader)
    rounds = reader._connections._discovery.rounds
    until(lambda: reader._connections._discovery.rounds >= rounds + 2, reader)
    assert reader.links == (1, 0)
    clock.ahead = FORGET_AFTER
    until(lambda: not reader.links.wanted, reader)


def test_an_nsqd_that_is_back_is_read_before_an_nsqlookupd_names_it_again(
    new_nsqd: NewNsqd, new_nsqlookupd: NewLookupd, topic: str, new_reader: NewReader
) -> None:
    lookupd = new_nsqlookupd()
    nsqd = new_nsqd(lookupds=[lookupd])
    nsqd.create_topic(topic)
    reader = new_reader(settings_for(lookupd_http_addresses=(lookupd.http_address,)), topic)
    until(lambda: reader.connected, reader)
    nsqd.stop()
    until(lambda: not reader.connected, reader)
    rounds = reader._connections._discovery.rounds
    until(lambda: reader._connections._discovery.rounds >= rounds + 2, reader)
    lookupd.kill()
    nsqd.start()
    until(lambda: reader.connected, reader)


def test_an_nsqd_that_takes_anothers_place_is_found_soon(
    new_nsqd: NewNsqd, nsqlookupd: Nsqlookupd, topic: str, new_reader: NewReader
) -> None:
    nsqd = new_nsqd(lookupds=[nsqlookupd])
    nsqd.create_topic(topic)
    settings = settings_for(lookupd_http_addresses=(nsqlookupd.http_address,), lookupd_poll_interval=3600)
    reader = new_reader(settings, topic)
    until(lambda: reader.connected, reader)
    nsqd.stop()
    until(lambda: not reader.connected, reader)
    new_nsqd(lookupds=[nsqlookupd]).publish(topic, b"here")
    assert receive(reader, 1, timeout=20)[0].body == b"here"


def test_a_lookupd_that_hangs_delays_no_message(nsqd: Nsqd, topic: str, new_reader: NewReader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = settings_for(nsqd.tcp_address, lookupd_http_addresses=(address,), lookupd_timeout=10.0)
        reader = new_reader(settings, topic)
        nsqd.publish(topic, b"x")
        began = time.monotonic()
        receive(reader, 1)
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"])
def test_a_lookupd_that_drips_its_answer_is_given_up_after_its_timeout(begins: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = LookupClient(f"127.0.0.1:{server.getsockname()[1]}", timeout=0.5)

        def drip() -> None:
            asker, _ = server.accept()
            with asker, suppress(OSError):
                asker.sendall(begins)
                for _ in range(100):
                    asker.sendall(b" ")
                    time.sleep(0.1)

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            client.nodes()
        assert time.monotonic() - began < 9, "the dripping lasts for 10 s"
        client.close()
        dripping.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"producers": [{}]}',
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_nonsense_from_a_lookupd_is_logged_and_changes_nothing(
    nsqd: Nsqd, topic: str, new_reader: NewReader, answer: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, structlog.testing.capture_logs() as logs:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        reader = new_reader(settings_for(nsqd.tcp_address, lookupd_http_addresses=(address,)), topic)
        asker, _ = server.accept()
        with asker:
            asker.recv(4096)
            asker.sendall(answer)
            until(lambda: [entry for entry in logs if entry["event"] == "nsqlookupd.failed"], reader)
            until(lambda: reader.connected, reader)


def test_setup_creates_the_channel_on_every_nsqd_and_can_be_repeated(
    new_nsqd: NewNsqd, new_nsqlookupd: NewLookupd, topic: str
) -> None:
    lookupd = new_nsqlookupd()
    brokers = [new_nsqd(lookupds=[lookupd]) for _ in range(2)]
    settings = settings_for(lookupd_http_addresses=(lookupd.http_address,))
    until(lambda: len(admin.known_nsqds(settings)) == 2)
    brokers[0].create_channel(topic, CHANNEL)
    assert admin.ensure_channel(settings, topic, CHANNEL) is True
    assert all(broker.channel(topic, CHANNEL) for broker in brokers)
    assert admin.ensure_channel(settings, topic, CHANNEL) is False


def test_an_nsqd_that_joins_after_setup_has_the_channel_before_its_first_message(
    new_nsqd: NewNsqd, new_nsqlookupd: NewLookupd, topic: str
) -> None:
    lookupd = new_nsqlookupd()
    admin.ensure_channel(settings_for(lookupd_http_addresses=(lookupd.http_address,)), topic, CHANNEL)
    late = new_nsqd(lookupds=[lookupd])
    late.publish(topic, b"kept")
    until(lambda: late.channel(topic, CHANNEL).get("depth") == 1)


def test_setup_knows_an_nsqd_by_its_tcp_address_alone(new_nsqd: NewNsqd, topic: str) -> None:
    nsqd = new_nsqd()
    settings = settings_for(nsqd.tcp_address)
    assert admin.ensure_channel(settings, topic, CHANNEL) is None
    until(lambda: nsqd.channel(topic, CHANNEL)["clients"] == [])
    assert ChannelDepths(settings, [topic]).look() == ({}, [])


class NeighbouringNsqd(Nsqd):
    """With its HTTP port next to its TCP port, as nsqd has them by default."""

    def choose_ports(self) -> None:
        super().choose_ports()
        self.http_port = self.tcp_port + 1


def test_an_http_interface_on_the_next_port_is_found(workspace: Workspace, topic: str) -> None:
    with NeighbouringNsqd(workspace) as nsqd:
        settings = settings_for(nsqd.tcp_address)
        assert admin.ensure_channel(settings, topic, CHANNEL) is True
        assert ChannelDepths(settings, [topic]).look() == ({topic: 0}, [])


def test_setup_does_not_leave_out_an_nsqd_that_is_away(new_nsqd: NewNsqd, nsqd: Nsqd, topic: str) -> None:
    away = new_nsqd()
    away.stop()
    with pytest.raises(Unavailable):
        admin.ensure_channel(settings_for(nsqd.tcp_address, away.tcp_address), topic, CHANNEL)
    with pytest.raises(Unavailable):
        admin.ensure_channel(settings_for(lookupd_http_addresses=("127.0.0.1:1",)), topic, CHANNEL)

"""How deep our channels are, whoever doesn't answer and under however many names; links are counted likewise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import structlog

from sandbox.nsq import Nsqd, Nsqlookupd
from sandbox.workspace import Workspace
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import CHANNEL, NewReader, settings_for, until
from worker.broker.admin import MISSED_FOR, ChannelDepths
from worker.settings.sections import NsqSettings


def filled(brokers: Sequence[Nsqd], topic: str) -> None:
    """Two messages wait at each."""
    for broker in brokers:
        broker.create_channel(topic, CHANNEL)
        broker.publish(topic, b"a", b"b")
        until(lambda broker=broker: broker.channel(topic, CHANNEL)["depth"] == 2)  # type: ignore[misc]


def known_by_http(*brokers: Nsqd) -> NsqSettings:
    return settings_for(
        *[broker.tcp_address for broker in brokers],
        nsqd_http_addresses=tuple(broker.http_address for broker in brokers),
    )


def test_depths_are_the_sum_over_all_nsqds(new_nsqd: NewNsqd, topic: str) -> None:
    brokers = [new_nsqd() for _ in range(2)]
    filled(brokers, topic)
    assert ChannelDepths(known_by_http(*brokers), [topic, "other"]).look() == ({topic: 4, "other": 0}, [])


def test_an_nsqd_that_does_not_answer_is_left_out_and_said_once(new_nsqd: NewNsqd, topic: str) -> None:
    brokers = [new_nsqd() for _ in range(3)]
    filled(brokers, topic)
    depths = ChannelDepths(known_by_http(*brokers), [topic])
    hung, dead, _ = brokers
    with structlog.testing.capture_logs() as logs:
        hung.pause()
        dead.kill()
        for _ in range(2):
            assert depths.look().messages == {topic: 2}
        assert len(depths.look().silent) == 2
        hung.resume()
        until(lambda: depths.look().messages == {topic: 4})
    failed = [entry["address"] for entry in logs if entry["event"] == "nsqd_stats.failed"]
    assert sorted(failed) == sorted([hung.http_address, dead.http_address])
    assert [entry["address"] for entry in logs if entry["event"] == "nsqd_stats.recovered"] == [hung.http_address]


def test_an_nsqd_that_its_nsqlookupd_has_forgotten_is_still_missed(
    new_nsqd: NewNsqd, new_nsqlookupd: Callable[[], Nsqlookupd], topic: str
) -> None:
    lookupd, now = new_nsqlookupd(), [0.0]
    brokers = [new_nsqd(lookupds=[lookupd]) for _ in range(2)]
    filled(brokers, topic)
    settings = settings_for(lookupd_http_addresses=(lookupd.http_address,))
    depths = ChannelDepths(settings, [topic], clock=lambda: now[0])
    until(lambda: depths.look() == ({topic: 4}, []))
    brokers[0].stop()
    until(lambda: depths.look().messages == {topic: 2})
    assert [brokers[0].http_address in str(away) for away in depths.look().silent] == [True]
    now[0] += MISSED_FOR
    assert depths.look() == ({topic: 2}, [])
    lookupd.kill()  # what it said stays
    assert depths.look().messages == {topic: 2}


def test_nobody_who_tells_is_no_depth_of_zero(new_nsqd: NewNsqd, topic: str) -> None:
    nsqd = new_nsqd()
    nsqd.stop()
    assert ChannelDepths(known_by_http(nsqd), [topic]).look().messages == {}


def test_an_nsqd_under_two_names_counts_once(
    workspace: Workspace, new_nsqlookupd: Callable[[], Nsqlookupd], topic: str, new_reader: NewReader
) -> None:
    lookupd = new_nsqlookupd()
    with Nsqd(workspace, lookupds=[lookupd]) as nsqd:
        filled([nsqd], topic)
        settings = settings_for(
            f"localhost:{nsqd.tcp_port}",
            nsqd_http_addresses=(f"localhost:{nsqd.http_port}",),
            lookupd_http_addresses=(lookupd.http_address,),
        )
        depths = ChannelDepths(settings, [topic])
        until(lambda: len(depths._ask_lookups()) == 0 and depths._expected() >= {nsqd.http_address})
        assert depths.look() == ({topic: 2}, [])
        reader = new_reader(settings, topic)
        reader.pause()
        until(lambda: len(nsqd.channel(topic, CHANNEL)["clients"]) == 2 and reader.links == (1, 1), reader)
        nsqd.kill()
        until(lambda: not reader.links.connected, reader)
        assert reader.links == (1, 0)


def test_links_are_counted_against_those_that_there_should_be(
    new_nsqd: NewNsqd, new_topic: Callable[[], str], new_reader: NewReader
) -> None:
    brokers = [new_nsqd() for _ in range(2)]
    reader = new_reader(settings_for(*[broker.tcp_address for broker in brokers]), new_topic(), new_topic())
    assert reader.links.wanted == 4
    until(lambda: reader.links == (4, 4), reader)
    brokers[0].kill()
    until(lambda: reader.links == (4, 2), reader)


@pytest.mark.parametrize("name", ["not a host", "[::1"])
def test_an_nsqd_that_registers_under_no_host_keeps_nobody_from_telling(
    new_nsqd: NewNsqd, new_nsqlookupd: Callable[[], Nsqlookupd], topic: str, name: str
) -> None:
    lookupd = new_nsqlookupd()
    good, odd = new_nsqd(lookupds=[lookupd]), new_nsqd(lookupds=[lookupd], flags=[f"--broadcast-address={name}"])
    filled([good, odd], topic)
    depths = ChannelDepths(settings_for(lookupd_http_addresses=(lookupd.http_address,)), [topic])
    until(lambda: len(depths.look().silent) == 1)
    until(lambda: depths.look().messages == {topic: 2})

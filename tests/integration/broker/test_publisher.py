"""The publisher: back only after nsqd's OK, whatever happens on the way."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import structlog

from sandbox.nsq import Nsqd, Nsqlookupd
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import CHANNEL, settings_for, until
from tests.integration.broker.peer import ERROR, RESPONSE, Peer, frame
from tests.support.waiting import wait_until
from worker.broker.admin import known_nsqds
from worker.broker.publisher import Publisher
from worker.errors import Rejected, Unavailable
from worker.settings.sections import NsqSettings

NewPublisher = Callable[[NsqSettings], Publisher]


def depth(nsqd: Nsqd, topic: str) -> int:
    """What has arrived there; it is all still waiting, as the topic has no channel."""
    nsqd.create_channel(topic, CHANNEL)
    return int(nsqd.channel(topic, CHANNEL)["message_count"])


def await_depth(nsqd: Nsqd, topic: str, count: int) -> None:
    """nsqd moves messages from a topic to its channel in its own time; no more than `count` may arrive."""
    wait_until(lambda: depth(nsqd, topic) >= count)
    assert depth(nsqd, topic) == count


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_what_was_published_is_there(nsqd: Nsqd, topic: str, new_publisher: NewPublisher, count: int) -> None:
    new_publisher(settings_for(nsqd.tcp_address)).publish(topic, [b"%d" % number for number in range(count)])
    await_depth(nsqd, topic, count)


def test_more_than_one_frame_takes_is_split(nsqd: Nsqd, topic: str, new_publisher: NewPublisher) -> None:
    new_publisher(settings_for(nsqd.tcp_address)).publish(topic, [b"x" * 1_000_000] * 12)
    await_depth(nsqd, topic, 12)


def test_an_nsqd_that_takes_smaller_frames_gets_smaller_ones(
    new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher
) -> None:
    nsqd = new_nsqd(flags=["--max-body-size=20000"])
    new_publisher(settings_for(nsqd.tcp_address)).publish(topic, [b"x" * 1000] * 100)
    await_depth(nsqd, topic, 100)


def test_a_restart_between_two_publications_is_not_noticed(
    new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher
) -> None:
    nsqd = new_nsqd()
    publisher = new_publisher(settings_for(nsqd.tcp_address))
    publisher.publish(topic, [b"before"])
    nsqd.restart()
    publisher.publish(topic, [b"after"])
    await_depth(nsqd, topic, 2)


def test_an_idle_connection_asks_for_no_heartbeats_which_nobody_would_answer(
    peer: Peer, topic: str, new_publisher: NewPublisher
) -> None:
    publisher = new_publisher(settings_for(peer.address))
    with ThreadPoolExecutor(1) as pool:
        publication = pool.submit(publisher.publish, topic, [b"x"])
        session = peer.accept()
        assert session.identify()["heartbeat_interval"] == -1
        session.send(frame(RESPONSE, b"OK"))
        publication.result(5)


def test_an_nsqd_that_is_away_is_waited_for(new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher) -> None:
    nsqd = new_nsqd()
    nsqd.stop()
    publisher = new_publisher(settings_for(nsqd.tcp_address))
    with structlog.testing.capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        publication = pool.submit(publisher.publish, topic, [b"late"], 10.0)
        wait_until(lambda: any(entry["event"] == "nsqd.refused" for entry in logs))
        nsqd.start()
        publication.result(10)
    await_depth(nsqd, topic, 1)


def test_another_nsqd_takes_over(new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher) -> None:
    brokers = [new_nsqd(), new_nsqd()]
    publisher = new_publisher(settings_for(*[broker.tcp_address for broker in brokers]))
    publisher.publish(topic, [b"first"])
    [used] = [broker for broker in brokers if publisher._connection and broker.tcp_port == publisher._connection.port]
    [other] = [broker for broker in brokers if broker is not used]
    used.kill()
    publisher.publish(topic, [b"second"])
    await_depth(other, topic, 1)


def test_nobody_to_publish_to_is_unavailable_at_the_deadline(
    new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher
) -> None:
    nsqd = new_nsqd()
    nsqd.stop()
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"nsqd is unavailable: 127\.0\.0\.1:\d+: unreachable"):
        new_publisher(settings_for(nsqd.tcp_address)).publish(topic, [b"x"], timeout=0.5)
    assert time.monotonic() - began < 4


def test_an_nsqd_that_hangs_is_unavailable_at_the_deadline(
    new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher
) -> None:
    nsqd = new_nsqd()
    publisher = new_publisher(settings_for(nsqd.tcp_address, connect_timeout=5.0))
    publisher.publish(topic, [b"before"])
    nsqd.pause()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        publisher.publish(topic, [b"x"], timeout=1.0)
    assert time.monotonic() - began < 4, "connect_timeout is 5 s"
    nsqd.resume()
    publisher.publish(topic, [b"after"])


def test_a_lost_ok_means_publishing_again(peer: Peer, topic: str, new_publisher: NewPublisher) -> None:
    publisher = new_publisher(settings_for(peer.address))
    with ThreadPoolExecutor(1) as pool:
        publication = pool.submit(publisher.publish, topic, [b"twice"])
        for attempt in range(2):
            session = peer.accept()
            session.identify()
            assert session.command(b"PUB") == b"PUB " + topic.encode()
            assert session.body() == b"twice"
            assert not publication.done()
            if attempt:
                session.send(frame(RESPONSE, b"_heartbeat_") + frame(RESPONSE, b"OK"))
            else:
                session.close()
        publication.result(5)


def test_a_topics_passing_failure_is_tried_again(peer: Peer, topic: str, new_publisher: NewPublisher) -> None:
    publisher = new_publisher(settings_for(peer.address))
    with ThreadPoolExecutor(1) as pool:
        publication = pool.submit(publisher.publish, topic, [b"x"])
        for answer in (frame(ERROR, b"E_PUB_FAILED exiting"), frame(RESPONSE, b"OK")):
            session = peer.accept()
            session.identify()
            session.command(b"PUB")
            session.send(answer)
        publication.result(5)


@pytest.mark.parametrize(
    "bodies", [[b"x" * 2000], [b"ok", b"x" * 2000], [b"x" * 900_000], [b"y"] * 9 + [b"x" * 900_000]]
)
def test_a_body_beyond_nsqds_limit_is_rejected_and_the_next_goes_through(
    new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher, bodies: list[bytes]
) -> None:
    nsqd = new_nsqd(flags=["--max-msg-size=1024"])
    publisher = new_publisher(settings_for(nsqd.tcp_address))
    with pytest.raises(Rejected) as caught:
        publisher.publish(topic, bodies, timeout=3.0)
    assert caught.value.reason == "message_too_big"
    publisher.publish(topic, [b"fits"])
    await_depth(nsqd, topic, 1)


@pytest.mark.parametrize(
    ("bodies", "reason"), [([b""], "message_empty"), ([b"x", b""], "message_empty"), ([b"x" * 5000], "message_too_big")]
)
def test_what_we_could_not_read_back_is_not_published(
    nsqd: Nsqd, topic: str, new_publisher: NewPublisher, bodies: list[bytes], reason: str
) -> None:
    publisher = new_publisher(settings_for(nsqd.tcp_address, max_message_bytes=2048))
    with pytest.raises(Rejected) as caught:
        publisher.publish(topic, bodies)
    assert caught.value.reason == reason


def test_a_topic_that_nsqd_refuses_is_rejected(nsqd: Nsqd, new_publisher: NewPublisher) -> None:
    with pytest.raises(Rejected) as caught:
        new_publisher(settings_for(nsqd.tcp_address)).publish("no+topic", [b"x"])
    assert caught.value.reason == "topic_invalid"


def test_threads_share_a_publisher(nsqd: Nsqd, topic: str, new_publisher: NewPublisher) -> None:
    publisher = new_publisher(settings_for(nsqd.tcp_address))
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(publisher.publish, topic, [b"a", b"b"]) for _ in range(50)]:
            done.result(10)
    await_depth(nsqd, topic, 100)


def test_closing_ends_a_publication_that_waits(new_nsqd: NewNsqd, topic: str, new_publisher: NewPublisher) -> None:
    nsqd = new_nsqd()
    nsqd.stop()
    publisher = new_publisher(settings_for(nsqd.tcp_address))
    with ThreadPoolExecutor(1) as pool:
        publication = pool.submit(publisher.publish, topic, [b"x"], 30.0)
        threading.Event().wait(0.2)
        publisher.close()
        with pytest.raises(Unavailable):
            publication.result(5)
    with pytest.raises(Unavailable, match="closed"):
        publisher.publish(topic, [b"x"])


def test_an_nsqd_is_found_through_nsqlookupd(
    nsqd: Nsqd, nsqlookupd: Nsqlookupd, topic: str, new_publisher: NewPublisher
) -> None:
    settings = settings_for(lookupd_http_addresses=("127.0.0.1:1", nsqlookupd.http_address))
    new_publisher(settings).publish(topic, [b"found"])
    await_depth(nsqd, topic, 1)


def publisher_to(brokers: Sequence[Nsqd], lookupd: Nsqlookupd, topic: str, new_publisher: NewPublisher) -> Publisher:
    """One that knows `brokers` by `lookupd`, asks that again each time, and has published to one of them."""
    for broker in brokers:
        broker.create_channel(topic, CHANNEL)
    settings = settings_for(lookupd_http_addresses=(lookupd.http_address,), lookupd_poll_interval=1e-6)
    until(lambda: len(known_nsqds(settings)) == len(brokers))
    publisher = new_publisher(settings)
    publisher.publish(topic, [b"first"])
    return publisher


def publisher_to_one_of_two(
    new_nsqd: NewNsqd, lookupd: Nsqlookupd, topic: str, new_publisher: NewPublisher
) -> tuple[Publisher, Nsqd, Nsqd]:
    """One that knows two nsqds by `lookupd`; the one that it is connected to, and the other."""
    brokers = [new_nsqd(lookupds=[lookupd]) for _ in range(2)]
    publisher = publisher_to(brokers, lookupd, topic, new_publisher)
    left, other = sorted(brokers, key=lambda broker: broker.tcp_port != port_of(publisher))
    return publisher, left, other


def test_a_tombstoned_nsqd_is_left(
    new_nsqd: NewNsqd, new_nsqlookupd: Callable[[], Nsqlookupd], topic: str, new_publisher: NewPublisher
) -> None:
    lookupd = new_nsqlookupd()
    publisher, left, other = publisher_to_one_of_two(new_nsqd, lookupd, topic, new_publisher)
    tombstone(lookupd, topic, left)
    until(lambda: publishes_to(publisher, topic) == other.tcp_port)
    before = depth(left, topic)
    for _ in range(4):
        assert publishes_to(publisher, topic) == other.tcp_port
        publisher._hang_up()
    assert depth(left, topic) == before
    tombstone(lookupd, topic, other)
    with pytest.raises(Unavailable, match="tombstoned"):  # noqa: PT012 - once the publisher has heard of it
        while True:
            publisher.publish(topic, [b"nowhere"], timeout=0.5)
    publisher.publish(f"{topic}.other", [b"a tombstone is one topic's"])


def test_an_nsqlookupd_that_failed_to_answer_once_is_heard_again(
    new_nsqd: NewNsqd, new_nsqlookupd: Callable[[], Nsqlookupd], topic: str, new_publisher: NewPublisher
) -> None:
    lookupd = new_nsqlookupd()
    publisher, left, other = publisher_to_one_of_two(new_nsqd, lookupd, topic, new_publisher)
    with structlog.testing.capture_logs() as logs:
        lookupd.pause()
        until(lambda: publishes_to(publisher, topic) and any(is_about_lookupd(entry) for entry in logs))
        lookupd.resume()
        tombstone(lookupd, topic, left)
        until(lambda: publishes_to(publisher, topic) == other.tcp_port)
    assert [entry["event"] for entry in logs if is_about_lookupd(entry)] == [
        "nsqlookupd.failed",
        "nsqlookupd.recovered",
    ]


def is_about_lookupd(entry: Mapping[str, object]) -> bool:
    return str(entry["event"]).startswith("nsqlookupd.")


def port_of(publisher: Publisher) -> int:
    assert publisher._connection is not None
    return publisher._connection.port


def publishes_to(publisher: Publisher, topic: str) -> int:
    """The port of the nsqd that took a message."""
    publisher.publish(topic, [b"x"])
    return port_of(publisher)


def tombstone(lookupd: Nsqlookupd, topic: str, nsqd: Nsqd) -> None:
    """Once nsqd has registered the topic: a tombstone for what isn't there is none."""

    def shown() -> list[bool]:
        nodes = json.loads(lookupd.http("GET", "/nodes"))["producers"]
        node = next(each for each in nodes if each["tcp_port"] == nsqd.tcp_port)
        return [told for name, told in zip(node["topics"], node["tombstones"], strict=True) if name == topic]

    until(lambda: shown() == [False])
    lookupd.http("POST", "/topic/tombstone", topic=topic, node=nsqd.http_address)
    assert shown() == [True]


def test_an_nsqd_that_resets_at_once_is_unavailable_and_leaves_no_socket(
    new_publisher: NewPublisher, topic: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset_all() -> None:
            with suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    accepted.close()

        threading.Thread(target=reset_all, daemon=True).start()
        publisher = new_publisher(settings_for(f"127.0.0.1:{listener.getsockname()[1]}"))
        with pytest.raises(Unavailable):
            publisher.publish(topic, [b"never"], 1.0)

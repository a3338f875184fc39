"""The reader against a scripted peer, for what a real nsqd does not do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from itertools import pairwise

import pytest
import structlog

from tests.integration.broker.conftest import NewReader, receive, settings_for, until
from tests.integration.broker.peer import ERROR, RESPONSE, Peer, frame, message_frame
from worker.broker.config import consumer_config
from worker.broker.handshake import open_connection
from worker.broker.protocol import Broken
from worker.broker.reader import Reader
from worker.domain.address import parse_address

HEARTBEAT = frame(RESPONSE, b"_heartbeat_")


def start(peer: Peer, new_reader: NewReader) -> Reader:
    return new_reader(settings_for(peer.address, max_message_bytes=2048), "topic")


def test_it_introduces_itself_with_what_was_measured(peer: Peer, new_reader: NewReader) -> None:
    start(peer, new_reader)
    said = peer.accept().identify()
    assert said["output_buffer_timeout"] == 25
    assert said["heartbeat_interval"] == 1000
    assert said["msg_timeout"] == 20_000
    assert said["feature_negotiation"] is True
    assert said["user_agent"].startswith("subkeeper/")
    assert "output_buffer_size" not in said


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(struct.pack(">l", -1), "bad_frame", id="negative length"),
        pytest.param(struct.pack(">l", 0), "bad_frame", id="no room for a type"),
        pytest.param(struct.pack(">l", 0x7FFFFFFF), "bad_frame", id="2 GiB"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "bad_frame", id="another protocol"),
        pytest.param(frame(7, b"what"), "bad_frame", id="unknown type"),
        pytest.param(frame(2, b"short"), "bad_frame", id="message without a header"),
        pytest.param(frame(ERROR, b"E_INVALID invalid command"), "refused", id="fatal error"),
        pytest.param(frame(ERROR, b"E_NEVER_HEARD_OF it"), "refused", id="unknown error"),
        pytest.param(frame(ERROR, b""), "refused", id="empty error"),
        pytest.param(b"", "closed_by_peer socket_error", id="close"),
        pytest.param(frame(RESPONSE, b"half a frame")[:9], "closed_by_peer socket_error", id="close in a frame"),
    ],
)
def test_nonsense_costs_the_connection_and_nothing_that_came_before_it(
    peer: Peer, new_reader: NewReader, sent: bytes, reason: str
) -> None:
    reader = start(peer, new_reader)
    session = peer.accept().subscribed()
    until(lambda: reader.connected, reader)
    with structlog.testing.capture_logs() as logs:
        session.send(message_frame(b"good") + sent)
        session.close()
        assert receive(reader, 1)[0].body == b"good"
        until(lambda: not reader.connected, reader)
        again = peer.accept(lambda: reader.read(0, 0.01)).subscribed()
    [why] = [entry["reason"] for entry in logs if entry["event"] == "nsqd.disconnected"]
    assert why in reason.split()  # a close with our answers unread is a reset
    assert +reader.counts.disconnects == {why: 1}
    again.send(message_frame(b"better"))
    assert receive(reader, 1)[0].body == b"better"


@pytest.mark.parametrize("code", [b"E_FIN_FAILED", b"E_REQ_FAILED", b"E_TOUCH_FAILED"])
def test_an_answer_that_came_too_late_is_no_error(peer: Peer, new_reader: NewReader, code: bytes) -> None:
    reader = start(peer, new_reader)
    session = peer.accept().subscribed()
    session.send(frame(ERROR, code + b" FIN 0123456789abcdef failed ID not in flight") + message_frame(b"next"))
    assert receive(reader, 1)[0].body == b"next"
    assert reader.connected


def test_frames_that_come_byte_by_byte_are_put_together(peer: Peer, new_reader: NewReader) -> None:
    reader = start(peer, new_reader)
    session = peer.accept().subscribed()
    session.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in message_frame(b"one") + HEARTBEAT + message_frame(b"two", b"fedcba9876543210"):
        session.send(bytes([byte]))
        assert len(reader.read(0, 0.0)) == 0
    assert [message.body for message in receive(reader, 2)] == [b"one", b"two"]
    assert session.command(b"NOP") == b"NOP"


def test_a_message_that_arrives_slowly_keeps_its_connection(peer: Peer, new_reader: NewReader) -> None:
    reader = start(peer, new_reader)
    session = peer.accept().subscribed()
    data = message_frame(b"slow")
    for part in (data[:10], data[10:20], data[20:]):  # 3.6 s, with a silence of two heartbeats at 2 s
        session.send(part)
        assert reader.read(0, 1.2) == []
    assert receive(reader, 1)[0].body == b"slow"


def test_a_message_beyond_the_limit_is_cut_and_keeps_nobody_from_the_next(peer: Peer, new_reader: NewReader) -> None:
    reader = new_reader(settings_for(peer.address, max_message_bytes=100_000), "topic")
    session = peer.accept().subscribed()
    with structlog.testing.capture_logs() as logs:
        until(lambda: reader.connected, reader)
        session.send(message_frame(b"x" * 100_000))
        assert len(receive(reader, 1)[0].body) == 100_000
        assert [entry["event"] for entry in logs] == ["nsqd.connected"]
        sender = threading.Thread(target=lambda: session.send(message_frame(b"x" * 9_000_000) + message_frame(b"next")))
        sender.start()
        assert [len(message.body) for message in receive(reader, 2)] == [100_000, 4]
        sender.join()
    assert logs[-1]["event"] == "nsqd.message_cut"


@pytest.mark.parametrize(
    "answer",
    [b"", b"not a frame at all", frame(RESPONSE, b"OK"), frame(RESPONSE, b"[]"), frame(ERROR, b"E_BAD_BODY no")],
)
def test_a_peer_that_refuses_to_be_introduced_is_asked_again(peer: Peer, new_reader: NewReader, answer: bytes) -> None:
    with structlog.testing.capture_logs() as logs:
        reader = start(peer, new_reader)
        for _ in range(2):
            session = peer.accept(lambda: reader.read(0, 0.01))
            session.introduced()
            session.send(answer)
            session.close()
        peer.accept(lambda: reader.read(0, 0.01)).subscribed()
        until(lambda: reader.connected, reader)
    assert "nsqd.refused" in [entry["event"] for entry in logs]


def test_a_peer_that_never_answers_is_given_up(peer: Peer, new_reader: NewReader) -> None:
    with structlog.testing.capture_logs() as logs:
        reader = start(peer, new_reader)
        peer.accept()
        until(lambda: logs, reader, timeout=3)
    assert logs[0]["reason"] == "timeout"


def test_reconnects_slow_down_and_are_spread(peer: Peer, new_reader: NewReader) -> None:
    """A peer that takes connections only to close them is not flooded with new ones."""
    reader = start(peer, new_reader)
    times = []
    for _ in range(6):
        session = peer.accept(lambda: reader.read(0, 0.01))
        times.append(time.monotonic())
        session.subscribed().close()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 10
    assert sum(gaps) > 0.5


def test_bytes_that_the_socket_refuses_are_sent_once_and_in_order(peer: Peer) -> None:
    server = threading.Thread(target=lambda: peer.accept().identify())
    server.start()
    config = consumer_config(settings_for(peer.address), time.monotonic)
    connection = open_connection(parse_address(peer.address), config)
    server.join()
    connection.sock.close()
    ours, theirs = socket.socketpair()  # no TCP windows, so that it is refused often and quickly
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection._socket = ours
    connection.release()
    expected, received, refused = b"", b"", 0
    for number in range(5000):
        connection.fin(b"%016x" % number)
        expected += b"FIN %016x\n" % number
        if number % 10 == 0:
            connection.flush()
        if number % 100 == 0:
            refused += connection.unsent
            received += theirs.recv(1500)
    while connection.unsent:
        connection.flush()
        received += theirs.recv(1500)
    connection.close()
    while rest := theirs.recv(65536):
        received += rest
    theirs.close()
    assert refused > 10, "the socket took everything"
    assert received == expected


def test_a_flush_that_fails_costs_the_connection(peer: Peer, new_reader: NewReader) -> None:
    reader = start(peer, new_reader)
    session = peer.accept().subscribed()
    session.send(b"".join(message_frame(b"x", b"%016x" % number) for number in range(1000)))
    messages = receive(reader, 1000, finish=False)
    session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.close()  # a reset
    for message in messages:
        reader.finish([message])
    until(lambda: not reader.connected, reader)


def test_a_connection_that_is_reset_before_its_first_read_is_dialed_again(peer: Peer, new_reader: NewReader) -> None:
    reader = start(peer, new_reader)
    session = peer.accept().subscribed()
    until(lambda: not any(thread.name.startswith("dial ") for thread in threading.enumerate()))
    session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.close()  # a reset
    again = peer.accept(lambda: reader.read(0, 0.01)).subscribed()
    again.send(message_frame(b"next"))
    assert receive(reader, 1)[0].body == b"next"
    assert +reader.counts.disconnects == {"socket_error": 1}


def test_the_socket_is_kept_alive_and_does_not_wait_to_send(peer: Peer, new_reader: NewReader) -> None:
    reader = start(peer, new_reader)
    peer.accept().subscribed()
    until(lambda: reader.connected, reader)
    [connection] = reader._connections.live
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_where_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = settings_for(f"127.0.0.1:{port}")
    with pytest.raises(Broken, match="unreachable"):
        open_connection(parse_address(f"127.0.0.1:{port}"), consumer_config(settings, time.monotonic))

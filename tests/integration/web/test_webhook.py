"""The webhook over real HTTP, with a real nsqd behind it."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from structlog.testing import capture_logs

from bench.deliveries import request, signature
from tests.conftest import NewNsqd
from tests.integration.broker.conftest import NewReader, new_reader, settings_for
from tests.integration.web.conftest import SECRET, Endpoint, NewEndpoint, body_of, signed
from tests.support.stack import SECRET_KEY
from tests.support.waiting import wait_until
from worker.domain.messages import Message
from worker.events.envelope import Envelopes
from worker.sealing import Sealer

FORGERIES = int(os.environ.get("SUBKEEPER_FORGERIES", "300"))
OTHER = "whsec_another7890abcdef1234567890"
PLANTED = "planted person ada@planted.example"

__all__ = ["new_reader"]


def test_a_delivery_is_an_envelope_at_nsqd_when_it_is_answered(endpoint: Endpoint, new_reader: NewReader) -> None:
    assert endpoint.post(body_of(7)) == (200, {"received": True})
    assert endpoint.published() == 1
    reader = new_reader(settings_for(endpoint.nsqd.tcp_address), endpoint.topic)
    found: list[Message] = []

    def has_come() -> bool:
        found.extend(reader.read(1, timeout=0.1))
        return bool(found)

    wait_until(has_come)
    event = Envelopes(Sealer([SECRET_KEY])).open(found[0].body)
    reader.finish(found)
    assert (event.id, event.source, event.object_id) == ("evt_7", "webhook", "sub_7")
    assert endpoint.outcomes("published") == 1
    assert endpoint.metric("subkeeper_webhook_signatures_total", secret="main") == 1
    assert endpoint.metric("subkeeper_webhook_publish_seconds_count") == 1


def test_what_nsqd_would_not_take_is_told_to_come_again(new_endpoint: NewEndpoint) -> None:
    """A limit that is too low is ours to raise: Stripe sends for three days."""
    endpoint = new_endpoint(SUBKEEPER_NSQ__MAX_MESSAGE_BYTES="1024")
    status, problem = endpoint.post(body_of(api_version="x" * 400))
    assert (status, problem["code"]) == (503, "unavailable")


def test_one_that_comes_twice_is_published_twice(endpoint: Endpoint) -> None:
    body = body_of()
    assert [endpoint.post(body, signed(body))[0] for _ in range(2)] == [200, 200]
    endpoint.await_published(2)


def test_many_at_once_are_all_there(endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(lambda number: endpoint.post(body_of(number))[0], range(200)))
    assert set(statuses) == {200}
    endpoint.await_published(200)


def test_no_forgery_is_taken(endpoint: Endpoint, rng: random.Random) -> None:
    """Altered bodies and signatures, other secrets, other times, nothing at all, on 8 connections."""
    now, good = int(time.time()), body_of()
    right = signed(good)

    def forged() -> bytes:
        place = rng.randrange(len(good))
        altered = good[:place] + bytes([good[place] ^ (1 << rng.randrange(7))]) + good[place + 1 :]
        return rng.choice(
            [
                request(altered, right),
                request(good[:place], right),
                request(good, right[:-1] + ("0" if right[-1] != "0" else "1")),
                request(good, signature(OTHER, good, now)),
                request(good, right.replace(f"t={now}", f"t={now + 1}")),
                request(good, signed(good, age=400)),
                request(good, signed(good, age=-400)),
                request(good, ""),
                request(good, f"t={now},v1={secrets.token_hex(32)}"),
            ]
        )

    def send(count: int) -> None:
        with endpoint.connect() as connection, connection.makefile("rb") as answers:
            for _ in range(count):
                connection.sendall(forged())
                assert answers.readline().startswith(b"HTTP/1.1 400")
                head = b"".join(iter(answers.readline, b"\r\n"))
                answers.read(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))

    for _ in range(8):
        send(FORGERIES // 8)
    assert endpoint.outcomes("published") == 0
    assert endpoint.published() == 0
    assert endpoint.post(good)[0] == 200, "a real one is served after them"


def test_what_was_refused_is_a_problem_that_tells_why(endpoint: Endpoint) -> None:
    body = body_of(livemode=True)
    status, problem = endpoint.post(body)
    assert (status, problem["title"], problem["code"]) == (400, "Bad Request", "wrong_mode")
    assert endpoint.post(body, signed(body, age=1000))[1]["code"] == "signature_too_old"
    assert endpoint.outcomes("wrong_mode") == 1


def test_what_is_not_for_us_is_answered_counted_and_dropped(endpoint: Endpoint) -> None:
    assert endpoint.post(body_of(type="charge.succeeded"))[0] == 200
    assert endpoint.post(body_of(account="acct_1"))[0] == 200
    assert (endpoint.outcomes("type_unknown"), endpoint.outcomes("connect"), endpoint.published()) == (1, 1, 0)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(new_endpoint: NewEndpoint) -> None:
    endpoint = new_endpoint(SUBKEEPER_WEB__MAX_BODY_BYTES="20000")
    head = b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\n"
    assert endpoint.raw(head + b"Content-Length: 20001\r\n\r\n").startswith(b"HTTP/1.1 413")
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    with endpoint.connect() as connection:
        connection.sendall(chunked + 2 * (b"2710\r\n" + b"x" * 10_000 + b"\r\n"))
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert endpoint.outcomes("too_large") == 2


def test_bytes_in_hand_are_bounded_and_what_goes_beyond_comes_again(new_endpoint: NewEndpoint) -> None:
    """Of whom nobody knows yet whether it is Stripe: two bodies that don't come to their end."""
    endpoint = new_endpoint(SUBKEEPER_WEB__MAX_BODY_BYTES="60000", SUBKEEPER_WEB__MAX_BYTES_IN_HAND="100000")
    head = b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    body = body_of()
    sent = request(body, signed(body)).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    with endpoint.connect() as first, endpoint.connect() as second:
        first.sendall(head + b"x" * 59_999)
        second.sendall(head + b"x" * 39_999)
        wait_until(lambda: endpoint.raw(sent).startswith(b"HTTP/1.1 503"))
        answer = endpoint.raw(sent).lower()
        assert b"retry-after: 5" in answer
        assert b'"code":"crowded"' in answer.replace(b" ", b"")
        second.close()
        wait_until(lambda: endpoint.post(body)[0] == 200, what="there is room again")
        first.sendall(b"x")
        assert first.recv(100).startswith(b"HTTP/1.1 400"), "what was in hand is answered"
    assert endpoint.outcomes("crowded") >= 2
    with endpoint.connect() as first:
        first.sendall(head + b"x" * 59_999)
        assert endpoint.post(body)[0] == 200


def test_a_chunked_body_is_as_good_as_any(endpoint: Endpoint) -> None:
    body = body_of()
    parts = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    head = f"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nStripe-Signature: {signed(body)}\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    sent = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert endpoint.raw(sent).startswith(b"HTTP/1.1 200")
    endpoint.await_published(1)


def test_who_asks_before_sending_the_body_is_answered_before_it_comes(endpoint: Endpoint) -> None:
    body = body_of()
    sent = request(body, signed(body)).replace(b"\r\n", b"\r\nExpect: 100-continue\r\n", 1)
    with endpoint.connect() as connection:
        connection.sendall(sent[: -len(body)])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(sent[: -len(body)].replace(b"Content-Length: ", b"Content-Length: 9999"))
        assert connection.recv(100).startswith(b"HTTP/1.1 413"), "who is refused needs not send it"


def test_requests_that_come_at_once_are_answered_in_turn(endpoint: Endpoint) -> None:
    good, other = body_of(1), body_of(2)
    answers = b""
    with endpoint.connect() as connection:
        connection.sendall(request(good, signed(good)) + request(other, "t=1,v1=0") + request(other, signed(other)))
        while answers.count(b"HTTP/1.1 ") < 3:
            answers += connection.recv(65536)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400", b"200"]


def test_a_compressed_body_is_not_unpacked(endpoint: Endpoint) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    status, problem = endpoint.post(bomb, Content_Encoding="gzip")
    assert (status, problem["title"]) == (415, "Unsupported Media Type")
    assert endpoint.outcomes("compressed") == 1


def test_what_is_no_http_is_a_problem_and_ends_the_connection(endpoint: Endpoint) -> None:
    head = b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\n"
    for nonsense in (
        head + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        head + b"X : x\r\n\r\n",
    ):
        answer = endpoint.raw(nonsense)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request")
        assert b"application/problem+json" in answer


def test_a_head_without_end_is_refused(endpoint: Endpoint) -> None:
    with endpoint.connect() as connection:
        connection.sendall(b"POST /stripe/webhook HTTP/1.1\r\nX: " + b"x" * 17_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 431")


def test_a_chunked_body_that_brings_anything_else_without_end_is_refused(endpoint: Endpoint) -> None:
    """Trailers, many or one that never ends; extensions of a chunk."""
    head = b"POST /stripe/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n"
    for endless in (body + b"a: b\r\n" * 4_000, body + b"a: " + b"b" * 20_000, b"1;" + b"x" * 20_000):
        with endpoint.connect() as connection:
            connection.sendall(head + endless)
            assert connection.recv(100).startswith(b"HTTP/1.1 431")


def test_who_is_slow_is_cut_off_however_he_trickles(new_endpoint: NewEndpoint) -> None:
    endpoint = new_endpoint(SUBKEEPER_WEB__RECEIVE_TIMEOUT="1")
    with endpoint.connect() as connection:
        unsent = list(request(body_of(), "t=1,v1=0")[:-1])

        def is_cut_off() -> bool:
            try:
                connection.sendall(bytes([unsent.pop(0)]))
            except OSError:
                return True
            return False

        wait_until(is_cut_off, 4, interval=0.05)


def test_half_open_connections_keep_no_real_one_out(new_endpoint: NewEndpoint) -> None:
    """More of them than there may be connections at all."""
    endpoint = new_endpoint(SUBKEEPER_WEB__MAX_CONNECTIONS="60", SUBKEEPER_WEB__RECEIVE_TIMEOUT="60")
    with ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(endpoint.connect())
            connection.sendall(request(body_of(), signed(b""))[: 20 if number % 2 else 1000])
        assert [endpoint.post(body_of(number))[0] for number in range(20)] == [200] * 20
    endpoint.await_published(20)


def test_while_nsqd_is_away_stripe_is_told_to_send_it_again(new_endpoint: NewEndpoint, new_nsqd: NewNsqd) -> None:
    nsqd = new_nsqd()
    endpoint = new_endpoint(nsqd=nsqd, SUBKEEPER_WEB__PUBLISH_TIMEOUT="1")
    assert endpoint.post(body_of(1))[0] == 200
    nsqd.stop()
    wait_until(lambda: not endpoint.is_ready(), what="it is known before a delivery comes")
    assert not endpoint.part("webhook")[0]
    status, problem = endpoint.post(body_of(2))
    assert (status, problem["code"]) == (503, "unavailable")
    assert endpoint.is_healthy(), "it passes by itself"
    nsqd.start()
    wait_until(endpoint.is_ready)
    assert endpoint.post(body_of(2))[0] == 200


def test_an_nsqd_that_is_restarted_meanwhile_costs_no_delivery(
    new_endpoint: NewEndpoint, new_nsqd: NewNsqd, new_reader: NewReader
) -> None:
    nsqd = new_nsqd()
    endpoint = new_endpoint(nsqd=nsqd)
    with ThreadPoolExecutor(8) as threads:
        deliveries = [threads.submit(endpoint.post, body_of(number)) for number in range(100)]
        nsqd.restart()
        deliveries += [threads.submit(endpoint.post, body_of(number)) for number in range(100, 200)]
        assert {delivery.result()[0] for delivery in deliveries} == {200}
    reader, envelopes = new_reader(settings_for(nsqd.tcp_address), endpoint.topic), Envelopes(Sealer([SECRET_KEY]))
    heard: set[str] = set()

    def all_are_heard() -> bool:
        batch = reader.read(200, timeout=0.1)
        heard.update(envelopes.open(message.body).id for message in batch)
        reader.finish(batch)
        return heard == {f"evt_{number}" for number in range(200)}

    wait_until(all_are_heard, what="all that were answered are there")


def test_without_secrets_it_is_healthy_and_says_once_that_the_webhook_is_disabled(new_endpoint: NewEndpoint) -> None:
    with capture_logs() as lines:
        endpoint = new_endpoint(STRIPE_WEBHOOK_SECRETS="")
        status, problem = endpoint.post(body_of())
        assert endpoint.is_healthy()
    assert (status, problem["code"]) == (503, "disabled")
    assert [line["event"] for line in lines].count("webhook.disabled") == 1
    assert endpoint.part("webhook") == (True, "disabled: STRIPE_WEBHOOK_SECRETS is not set")


def test_secrets_are_rotated_in_their_file_while_it_runs(new_endpoint: NewEndpoint, tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"old={SECRET}\n")
    endpoint = new_endpoint(STRIPE_WEBHOOK_SECRETS="", STRIPE_WEBHOOK_SECRETS_FILE=str(file))
    body = body_of()
    assert endpoint.post(body, signed(body, OTHER))[0] == 400
    file.write_text(f"old={SECRET}\nnew={OTHER}\n")
    wait_until(lambda: endpoint.post(body, signed(body, OTHER))[0] == 200)
    assert endpoint.post(body, signed(body, SECRET))[0] == 200
    file.write_text("new=")
    wait_until(lambda: not endpoint.is_healthy(), what="a person is asked for")
    assert endpoint.post(body, signed(body, SECRET))[0] == 200, "those of before stay in force"
    file.write_text(f"new={OTHER}\n")
    wait_until(lambda: endpoint.post(body, signed(body, SECRET))[0] == 400)
    wait_until(endpoint.is_healthy)
    assert endpoint.metric("subkeeper_webhook_signatures_total", secret="new") == 1


def test_no_log_line_repeats_what_was_sent_and_refusals_are_told_once_a_minute(new_endpoint: NewEndpoint) -> None:
    with capture_logs() as lines:
        endpoint = new_endpoint()
        for _ in range(5):
            body = json.dumps({"type": PLANTED, "livemode": False, "data": PLANTED}).encode()
            endpoint.post(body)
            endpoint.post(body[:-1])
            endpoint.post(body, PLANTED)
            endpoint.post(body, path=f"/{PLANTED.replace(' ', '')}")
        endpoint.post(body_of())
    assert "planted" not in f"{lines}"
    refused = [line["reason"] for line in lines if line["event"] == "webhook.refused"]
    assert sorted(refused) == ["malformed", "signature_malformed"]


def test_nothing_else_is_served_there(endpoint: Endpoint) -> None:
    for method, path, status in (("GET", "/stripe/webhook", 405), ("POST", "/metrics", 404)):
        answer = endpoint.raw(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert (b"allow: POST\r\n" in answer) == (status == 405)


def test_it_ends_with_what_was_asked_answered(endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(4) as threads:
        deliveries = [threads.submit(endpoint.post, body_of(number)) for number in range(40)]
        wait_until(lambda: endpoint.published() > 0)
        assert endpoint.stop() == 0
    answered = [delivery.result()[0] for delivery in deliveries if not delivery.exception()]
    assert set(answered) == {200}
    assert endpoint.published() >= len(answered)

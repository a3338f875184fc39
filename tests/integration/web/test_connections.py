"""One connection over real HTTP, of which an endpoint and the application answer requests: in turn, each once."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from tests.support.waiting import wait_until
from worker.web.app import Answer, App, Problem, Request
from worker.web.exchange import InHand
from worker.web.protocol import Bounds
from worker.web.server import HttpServer

TAKEN = Answer(HTTPStatus.OK, "text/plain", b"taken")
PATIENCE = 30.0


class Taking:
    """Answers at once, or what it holds once that is called."""

    path = "/there"
    max_body_bytes = 100_000

    def __init__(self) -> None:
        self.in_hand = InHand(1_000_000)
        self.taken: list[bytes] = []
        self.answer = TAKEN
        self.holds = False
        self.held: list[Callable[[], object]] = []

    def take(self, body: bytes, headers: Mapping[bytes, bytes], answer: Callable[[Answer], None]) -> None:
        self.taken.append(body)
        self.headers = headers
        if self.holds:
            self.held.append(partial(asyncio.get_running_loop().call_soon_threadsafe, answer, self.answer))
        else:
            answer(self.answer)

    def unread(self, problem: Problem) -> None:
        raise AssertionError(problem)


async def _greet(_request: Request) -> Answer:
    return Answer(HTTPStatus.OK, "text/plain", b"hello")


async def _read(request: Request) -> Answer:
    return Answer(HTTPStatus.OK, "text/plain", await request.body(1000))


@pytest.fixture
def endpoint() -> Taking:
    return Taking()


@contextmanager
def serving(endpoint: Taking, connections: int = 100) -> Iterator[HttpServer]:
    bounds = Bounds(connections, receive=PATIENCE, answer=PATIENCE, idle=PATIENCE)
    server = HttpServer(
        App({"/hello": {"GET": _greet}, "/read": {"POST": _read}}),
        "127.0.0.1",
        0,
        bounds,
        name="web",
        endpoints=[endpoint],
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(endpoint: Taking) -> Iterator[HttpServer]:
    with serving(endpoint) as server:
        yield server


def connected(server: HttpServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=PATIENCE)


def post(body: bytes, *more: bytes, method: bytes = b"POST", target: bytes = b"/there", http: bytes = b"1.1") -> bytes:
    head = [b"%b %b HTTP/%b" % (method, target, http), b"Host: x", b"Content-Length: %d" % len(body), *more]
    return b"\r\n".join([*head, b"", body])


GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def answers(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def statuses(server: HttpServer, sent: bytes) -> list[bytes]:
    """Of all answers to these bytes, until the connection ends."""
    with connected(server) as connection:
        connection.sendall(sent)
        return re.findall(rb"HTTP/1\.1 (\d+)", answers(connection))


def test_of_thousands_that_wait_behind_another_each_is_answered_once(server: HttpServer, endpoint: Taking) -> None:
    """The application's answer is a task of its own: all others have come by then."""
    bodies = [b"%d" % number for number in range(3000)]
    with capture_logs() as lines:
        found = statuses(server, GET + b"".join(map(post, bodies)) + LAST)
    assert found == [b"200"] * 3002
    assert endpoint.taken == bodies
    assert lines == []


def test_those_behind_one_that_is_in_hand_wait_for_it(server: HttpServer, endpoint: Taking) -> None:
    endpoint.holds = True
    with connected(server) as connection:
        connection.sendall(post(b"first") + post(b"second") + LAST)
        wait_until(lambda: endpoint.held)
        assert endpoint.taken == [b"first"]
        endpoint.holds = False
        endpoint.held[0]()
        assert re.findall(rb"taken|hello", answers(connection)) == [b"taken", b"taken", b"hello"]
    assert endpoint.taken == [b"first", b"second"]


def test_of_a_peer_that_leaves_meanwhile_nothing_stays_in_hand(server: HttpServer, endpoint: Taking) -> None:
    endpoint.holds, endpoint.in_hand = True, InHand(1000)
    with connected(server) as connection:
        connection.sendall(_THREE)
        wait_until(lambda: endpoint.held)
    endpoint.holds = False
    endpoint.held[0]()
    wait_until(lambda: has_room(endpoint, 1000))


def test_of_a_connection_that_has_to_make_way_nothing_stays_in_hand(
    endpoint: Taking, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.holds, endpoint.in_hand = True, InHand(1000)
    with serving(endpoint, connections=1) as server, connected(server) as connection:
        connection.sendall(_THREE)
        wait_until(lambda: endpoint.held)
        assert statuses(server, LAST) == [b"200"]
        endpoint.held[0]()
        wait_until(lambda: has_room(endpoint, 1000))
    assert len(endpoint.taken) == 1
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == [], "an answer to nobody is no error"


_THREE = post(b"x" * 100) + post(b"y" * 100) + post(b"z" * 100)[:-1]
"""One that is taken, one that waits for it, and one that hasn't come to its end."""


def has_room(endpoint: Taking, size: int) -> bool:
    try:
        endpoint.in_hand.add(size, 0)
    except Problem:
        return False
    endpoint.in_hand.remove(size)
    return True


@pytest.mark.parametrize(
    "told",
    [
        post(b"x", method=b"PUT"),
        post(b"x", b"Connection: keep-alive", http=b"1.0"),
    ],
)
def test_who_is_told_that_the_connection_ends_is_heard_no_further(
    server: HttpServer, endpoint: Taking, told: bytes
) -> None:
    """RFC 9112, 9.6: its peer couldn't know what came of what it sent behind."""
    assert len(statuses(server, told + post(b"unheard") + GET)) == 1
    assert b"unheard" not in endpoint.taken


@pytest.mark.parametrize(("method", "target"), [(b"POST", b"/there"), (b"GET", b"/hello")])
def test_a_body_that_is_taken_for_another_protocol_s_is_no_request(
    server: HttpServer, method: bytes, target: bytes
) -> None:
    """httptools reads no body behind `Upgrade`: what comes later would be the next request."""
    upgrade = (b"Connection: upgrade", b"Upgrade: h2c")
    with connected(server) as connection:
        connection.sendall(post(LAST, *upgrade, method=method, target=target)[: -len(LAST)])
        found = connection.recv(65536)
        with suppress(OSError):
            connection.sendall(LAST)
            found += answers(connection)
    assert found.count(b"HTTP/1.1 ") == 1


_CHUNKED, _CHUNKS = b"Transfer-Encoding: chunked", b"4\r\nbody\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ((b"Content-Length: 4", _CHUNKED), _CHUNKS),
        ((_CHUNKED, b"Content-Length: 4"), _CHUNKS),
        ((b"Content-Length: 4", b"Content-Length: 5"), b"body"),
        ((b"Content-Length: 4, 4",), b"body"),
        ((b"Content-Length: +4",), b"body"),
        ((b"Content-Length : 4",), b"body"),
        ((b"A: b", b" folded: c", b"Content-Length: 4"), b"body"),
        ((b"A: b\rC: d", b"Content-Length: 4"), b"body"),
        ((b"Transfer-Encoding: identity",), _CHUNKS),
        ((b"Transfer-Encoding: chunked, identity",), _CHUNKS),
        ((b"Transfer-Encoding: xchunked",), _CHUNKS),
        ((b"Transfer-Encoding:\x0bchunked",), _CHUNKS),
        ((_CHUNKED, _CHUNKED), _CHUNKS),
        ((_CHUNKED,), b"0x4\r\nbody\r\n0\r\n\r\n"),
        ((_CHUNKED,), b"4\nbody\n0\n\n"),
        ((_CHUNKED,), b"3\r\nbody\r\n0\r\n\r\n"),
    ],
)
def test_what_two_may_take_for_different_lengths_is_refused(
    server: HttpServer, endpoint: Taking, fields: tuple[bytes, ...], body: bytes
) -> None:
    """A proxy before us and we (request smuggling; RFC 9112, 6.3 and 11.2): nothing behind it is a request."""
    head = b"\r\n".join([b"POST /there HTTP/1.1", b"Host: x", *fields, b"", b""])
    assert statuses(server, head + body + post(b"behind")) == [b"400"]
    assert endpoint.taken == []


def test_of_headers_that_come_twice_the_first_counts(server: HttpServer, endpoint: Taking) -> None:
    statuses(server, post(b"x", b"A: first", b"Connection: close", b"a: second"))
    assert endpoint.headers[b"a"] == b"first"


def test_an_absolute_target_is_its_path(server: HttpServer, endpoint: Taking) -> None:
    """RFC 9112, 3.2.2: it has to be taken."""
    for target in (b"http://x/there", b"http://x/there?a=b", b"/there?a=/b"):
        assert statuses(server, post(b"x", b"Connection: close", target=target)) == [b"200"]
    for target in (b"//there", b"/there/", b"/x/there"):
        assert statuses(server, post(b"x", b"Connection: close", target=target)) == [b"404"]
    assert len(endpoint.taken) == 3


@pytest.mark.parametrize("target", [b"/there", b"/read"])
def test_who_asks_before_sending_the_body_is_told_to_go_on(server: HttpServer, target: bytes) -> None:
    """By an endpoint, and by uvicorn for the application."""
    sent = post(b"body", b"Expect: 100-continue", b"Connection: close", target=target)
    with connected(server) as connection:
        connection.sendall(sent[:-4])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert answers(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("target", "allowed"), [(b"/there", b"POST"), (b"/read", b"POST"), (b"/hello", b"GET, HEAD")])
def test_another_method_is_told_which_there_are(server: HttpServer, target: bytes, allowed: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(post(b"", method=b"PUT", target=target))
        head = answers(connection)
    assert head.startswith(b"HTTP/1.1 405")
    assert b"\r\nallow: %b\r\n" % allowed in head
    assert b"\r\nconnection: close\r\n" in head


def test_a_head_request_is_answered_without_a_body(server: HttpServer) -> None:
    with connected(server) as connection:
        connection.sendall(post(b"", method=b"HEAD"))
        head, _, body = answers(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405")
    assert re.search(rb"content-length: [1-9]", head)
    assert head.count(b"connection: close") == 1
    assert body == b""


def test_who_waits_for_an_answer_is_read_no_further(server: HttpServer, endpoint: Taking) -> None:
    """Else one connection could bring any number of requests."""
    count = 200
    endpoint.holds, endpoint.in_hand = True, InHand(8_000_000)
    with connected(server) as connection, ThreadPoolExecutor(1) as sender:
        sent = sender.submit(connection.sendall, post(b"x" * 50_000) * count + LAST)
        wait_until(lambda: endpoint.held)
        go_round(server)
        assert has_room(endpoint, 4_000_000)
        endpoint.holds = False
        endpoint.held[0]()
        assert answers(connection).count(b"taken") == count
        sent.result()


def go_round(server: HttpServer) -> None:
    """The server looks at all that has come on other connections meanwhile."""
    for _ in range(50):
        statuses(server, LAST)


def test_who_takes_no_answers_is_read_no_further(server: HttpServer, endpoint: Taking) -> None:
    """Else they would pile up in our memory. It goes on once they are taken."""
    count, size = 200, 1_000_000
    endpoint.answer = Answer(HTTPStatus.OK, "text/plain", b"t" * size)
    with connected(server) as connection, ThreadPoolExecutor(1) as sender:
        sent = sender.submit(connection.sendall, post(b"x" * 50_000) * count + LAST)

        def is_held_up() -> bool:
            before = len(endpoint.taken)
            go_round(server)
            return 0 < before == len(endpoint.taken)

        wait_until(is_held_up)
        assert len(endpoint.taken) < 100
        found = len(answers(connection))
        sent.result()
    assert len(endpoint.taken) == count
    assert found > count * size

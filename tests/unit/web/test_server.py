"""A server's connections, between two requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from worker.web.app import Answer, App, Request
from worker.web.protocol import Bounds
from worker.web.server import HttpServer

GET = b"GET /there HTTP/1.1\r\nHost: x\r\n\r\n"


async def _there(_request: Request) -> Answer:
    return Answer(HTTPStatus.OK, "text/plain", b"yes")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    bounds = Bounds(10, receive=30.0, answer=30.0, idle=0.5)
    server = HttpServer(App({"/there": {"GET": _there}}), "127.0.0.1", 0, bounds, name="test")
    server.start()
    yield server
    server.stop()


def test_a_connection_that_is_idle_is_kept_for_a_while_and_closed_in_good_order(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        for _ in range(2):
            connection.sendall(GET)
            answer = b""
            while not answer.endswith(b"yes"):
                answer += connection.recv(4096)
        assert connection.recv(4096) == b"", "an end, and no reset"

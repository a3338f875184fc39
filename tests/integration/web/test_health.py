"""The health endpoint over real HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from worker.errors import Misconfigured, Unavailable
from worker.settings.sections import HealthSettings
from worker.telemetry import Health, Metrics
from worker.web.health import health_server
from worker.web.server import HttpServer

ANY_PORT = HealthSettings(port=0)


@pytest.fixture
def health() -> Health:
    return Health(["postgres", "nsqd"])


@pytest.fixture
def server(health: Health) -> Iterator[HttpServer]:
    server = health_server(ANY_PORT, health, Metrics("1.2.3"))
    server.start()
    yield server
    server.stop()


def _ask(server: HttpServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def _json(server: HttpServer, path: str) -> tuple[int, Any]:
    response, body = _ask(server, path)
    return response.status, json.loads(body)


def test_a_process_is_healthy_before_it_is_ready(server: HttpServer) -> None:
    assert _json(server, "/healthz") == (200, {"status": "healthy", "reasons": []})
    starting = {"ok": False, "detail": "starting"}
    assert _json(server, "/readyz") == (
        503,
        {"status": "not ready", "parts": {"postgres": starting, "nsqd": starting}},
    )


def test_it_is_ready_once_every_part_is(server: HttpServer, health: Health) -> None:
    health.set("postgres", ok=True)
    assert _json(server, "/readyz")[0] == 503
    health.set("nsqd", ok=True, detail="2 connections")
    status, page = _json(server, "/readyz")
    assert (status, page["parts"]["nsqd"]) == (200, {"ok": True, "detail": "2 connections"})


def test_a_part_that_is_away_makes_it_unready_and_leaves_it_healthy(server: HttpServer, health: Health) -> None:
    for part in ("postgres", "nsqd"):
        health.set(part, ok=True)
    health.set("stripe", ok=False, detail="halted: no such price")
    assert _json(server, "/readyz")[0] == 503
    assert _json(server, "/healthz")[0] == 200


def test_a_fatal_reason_stays_fatal(server: HttpServer, health: Health) -> None:
    health.fatal("thread settle-1 died")
    for part in ("postgres", "nsqd"):
        health.set(part, ok=True)
    assert _json(server, "/healthz") == (503, {"status": "not healthy", "reasons": ["thread settle-1 died"]})
    assert _json(server, "/readyz")[0] == 503


def test_metrics_come_in_prometheus_text_format(server: HttpServer) -> None:
    response, body = _ask(server, "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert b'subkeeper_build_info{version="1.2.3"} 1.0' in body


def test_another_path_is_a_404_problem(server: HttpServer) -> None:
    response, body = _ask(server, "/metrics/x")
    assert (response.status, response.headers["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(body) == {"type": "about:blank", "title": "Not Found", "status": 404}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get_and_head_are_answered(server: HttpServer, method: str) -> None:
    response, _ = _ask(server, "/healthz", method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_and_no_body(server: HttpServer) -> None:
    response, body = _ask(server, "/healthz", "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_it_does_not_say_what_serves_it(server: HttpServer) -> None:
    response, _ = _ask(server, "/healthz")
    assert "Server" not in response.headers


def test_a_taken_port_is_told_with_its_address_and_may_be_free_later(server: HttpServer, health: Health) -> None:
    with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port} is in use by another process") as caught:
        health_server(HealthSettings(port=server.port), health, Metrics("1"))
    assert caught.value.dependency == "health.port"


def test_a_hundred_half_open_requests_keep_nobody_from_an_answer(server: HttpServer) -> None:
    with ExitStack() as stack:
        half_open = [
            stack.enter_context(socket.create_connection((server.host, server.port), timeout=30)) for _ in range(100)
        ]
        for connection in half_open:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        assert _json(server, "/healthz")[0] == 200
        assert [connection.recv(1) for connection in half_open] == [b""] * 100, "they are closed in seconds"


def test_a_host_that_is_not_ours_is_refused(health: Health) -> None:
    with pytest.raises(Misconfigured) as caught:
        health_server(HealthSettings(host="host.invalid", port=0), health, Metrics("1"))
    assert caught.value.key == "health.host"


def test_it_stops_promptly_with_connections_open_and_frees_its_port(health: Health) -> None:
    server = health_server(ANY_PORT, health, Metrics("1"))
    server.start()
    idle = socket.create_connection((server.host, server.port), timeout=5)
    _ask(server, "/healthz")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5
    assert not server.is_alive()
    assert idle.recv(1) == b""
    idle.close()
    assert [thread.name for thread in threading.enumerate() if thread.name == "http-health"] == []
    again = health_server(HealthSettings(port=server.port), health, Metrics("1"))
    again.start()
    again.stop()
    again.stop()


def test_one_that_was_never_started_gives_its_port_back(health: Health) -> None:
    server = health_server(ANY_PORT, health, Metrics("1"))
    server.stop()
    health_server(HealthSettings(port=server.port), health, Metrics("1")).stop()

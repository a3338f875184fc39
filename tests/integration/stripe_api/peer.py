"""An HTTP server that answers exactly as a test's script says, byte by byte where it must."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Self
from urllib.parse import parse_qsl, urlsplit

Step = Callable[["Exchange"], None]


class Closed(Exception):
    """A step ends its connection."""


@dataclass(frozen=True)
class Request:
    """What arrived. `connection` counts the connections; header names are in lower case."""

    connection: int
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Exchange:
    """One request and the socket to answer it on."""

    request: Request
    socket: socket.socket
    stopped: threading.Event


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None, *, close: bool = False) -> Step:
    """Answer with JSON (or with text as it is), a `Date`, and these headers. `close`: quietly end the connection."""

    def step(exchange: Exchange) -> None:
        exchange.socket.sendall(_head(status, _encoded(body), headers) + _encoded(body))
        if close:
            raise Closed

    return step


def refuse(status: int, headers: Mapping[str, str] | None = None, **error: str) -> Step:
    """Answer with an error in Stripe's shape."""
    return answer({"error": {"message": "ada@example.org", **error}}, status, headers)


def drop(exchange: Exchange) -> None:
    """Close the connection without an answer."""
    raise Closed


def reset(exchange: Exchange) -> None:
    """Break the connection without an answer (RST)."""
    exchange.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Closed


def hang(exchange: Exchange) -> None:
    """Never answer."""
    exchange.stopped.wait()


def half(exchange: Exchange) -> None:
    """Promise a body, send half of it, and close."""
    body = _encoded({"id": "cus_1", "object": "customer"})
    exchange.socket.sendall(_head(200, body, None) + body[: len(body) // 2])
    raise Closed


def trickle(*, headers: bool = False, pause: float = 0.05) -> Step:
    """Send a byte at a time, for ever: of the headers, or of the body."""

    def step(exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nX-Filler: " if headers else b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
        exchange.socket.sendall(head)
        with suppress(OSError):
            while not exchange.stopped.wait(pause):
                exchange.socket.sendall(b" ")

    return step


def flood(exchange: Exchange) -> None:
    """Send a body without an end."""
    exchange.socket.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    with suppress(OSError):
        while not exchange.stopped.is_set():
            exchange.socket.sendall(b" " * 65536)


class Peer:
    """Listens on a free port; each request gets the next step of the script, and the last step again and again."""

    def __init__(self, *script: Step, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self._script = list(script)
        self._tls = tls
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self._threads = [threading.Thread(target=self._accept, name="peer", daemon=True)]
        self._connections: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.append(connection)
                number = len(self._connections)
                thread = threading.Thread(target=self._serve, args=(connection, number), name="peer", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        with suppress(OSError, Closed):
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            self._connections[number - 1] = connection
            with connection, connection.makefile("rb") as lines:
                while line := lines.readline():
                    request = _read(line, lines.readline, lines.read, number)
                    with self._lock:
                        step = self._script[min(len(self.requests), len(self._script) - 1)]
                        self.requests.append(request)
                    step(Exchange(request, connection, self._stopped))


def _read(first: bytes, readline: Callable[[], bytes], read: Callable[[int], bytes], connection: int) -> Request:
    method, target, _ = first.decode().split(" ")
    headers: dict[str, str] = {}
    while (line := readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = read(int(headers.get("content-length", 0))).decode()
    url = urlsplit(target)
    return Request(connection, method, url.path, dict(parse_qsl(url.query or body)), headers)


def _head(status: int, body: bytes, headers: Mapping[str, str] | None) -> bytes:
    lines = {"Date": formatdate(time.time(), usegmt=True), "Request-Id": "req_1", "Content-Length": str(len(body))}
    lines |= headers or {}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Scripted\r\n{text}\r\n".encode()


def _encoded(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()

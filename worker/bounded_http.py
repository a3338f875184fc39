"""urllib3 connections whose timeout bounds the whole of connecting, and the whole of an answer.

Socket timeouts bound each read, not their sum: a peer that sends a byte a second would hold its caller for ever.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

Clock = Callable[[], float]


class BoundedConnection(HTTPConnection):
    """`self.timeout` is set by urllib3's pool before each phase, to what is left of the request's total."""

    def clock(self) -> float:
        """In seconds; the timeouts count by it."""
        return time.monotonic()

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; the addresses share the time that is left."""
        until = self.clock() + _seconds(self.timeout)
        addresses = self._resolve()
        failed: OSError = TimeoutError()
        for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            left = until - self.clock()
            if left <= 0:
                break
            try:
                sock = self._connect(address, left / untried)
            except OSError as error:
                failed = error
                continue
            sock.settimeout(max(0.001, until - self.clock()))
            return sock
        if isinstance(failed, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from failed
        raise NewConnectionError(self, f"no connection: {failed}") from failed

    def _resolve(self) -> list[tuple[int, int, int, tuple[object, ...]]]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]

    def _connect(self, address: tuple[int, int, int, tuple[object, ...]], timeout: float) -> socket.socket:
        sock = socket.socket(*address[:3])
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout)
            sock.connect(address[3])
        except OSError:
            sock.close()
            raise
        return sock

    def getresponse(self) -> urllib3.response.HTTPResponse:  # type: ignore[override]  # as urllib3's own
        until = self.clock() + _seconds(self.timeout)
        self.response_class = partial(_response, until=until, clock=self.clock)  # type: ignore[assignment]  # called, never subclassed
        return super().getresponse()


class _BoundedReader(io.RawIOBase):
    """Reads a socket until a point in time, however the peer spreads what it sends."""

    def __init__(self, sock: socket.socket, until: float, clock: Clock) -> None:
        self._socket = sock
        self._until = until
        self._clock = clock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # called by BufferedReader alone
        left = self._until - self._clock()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedPool(urllib3.HTTPConnectionPool):
    """Of such connections, without TLS."""

    ConnectionCls = BoundedConnection


class _BoundedSocket:
    """What `http.client` needs of a socket to read one response."""

    def __init__(self, sock: socket.socket, until: float, clock: Clock) -> None:
        self._reader = partial(_BoundedReader, sock, until, clock)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader())


def _response(
    sock: socket.socket, *, until: float, clock: Clock, method: str | None = None
) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(cast("socket.socket", _BoundedSocket(sock, until, clock)), method=method)


def _seconds(timeout: object) -> float:
    assert isinstance(timeout, (int, float)), "every request is given a total timeout"
    return float(timeout)

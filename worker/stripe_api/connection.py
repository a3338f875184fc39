"""urllib3 connections whose timeout bounds the whole of connecting, and the whole of an answer."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from functools import partial
from typing import cast

import stripe
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from worker.stripe_api.deadline import boot_time


class _BoundedReader(io.RawIOBase):
    """Reads a socket until a point in time (`boot_time`), however the peer spreads what it sends."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._socket = sock
        self._until = until
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # called by BufferedReader alone
        left = self._until - boot_time()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedSocket:
    """What `http.client` needs of a socket to read one response."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._socket = sock
        self._until = until

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._socket, self._until))


def _response(sock: socket.socket, *, until: float, method: str | None = None) -> http.client.HTTPResponse:
    return http.client.HTTPResponse(cast("socket.socket", _BoundedSocket(sock, until)), method=method)


class _Bounded(HTTPConnection):
    """`self.timeout` is set by urllib3's pool before each phase, to what is left of the request's total."""

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; the addresses share the time that is left."""
        until = boot_time() + _seconds(self.timeout)
        addresses = self._resolve()
        failed: OSError = TimeoutError()
        for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            left = until - boot_time()
            if left <= 0:
                break
            try:
                sock = self._connect(address, left / untried)
            except OSError as error:
                failed = error
                continue
            sock.settimeout(max(0.001, until - boot_time()))
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
        until = boot_time() + _seconds(self.timeout)
        self.response_class = partial(_response, until=until)  # type: ignore[assignment]  # called, never subclassed
        return super().getresponse()


class _BoundedTls(_Bounded, HTTPSConnection):
    """The same over TLS: CPython bounds the whole handshake by the socket's timeout."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedTls


def pool_for(origin: str, connections: int) -> urllib3.HTTPConnectionPool:
    """A pool for `origin` (scheme, host, port) that keeps up to `connections` open."""
    url = urllib3.util.parse_url(origin)
    host = url.host or ""
    if url.scheme == "http":
        return _Pool(host, url.port, maxsize=connections, block=False)
    return _TlsPool(host, url.port, maxsize=connections, block=False, ssl_context=_verifying())


def _verifying() -> ssl.SSLContext:
    """The system's certificate authorities, and those that `stripe` ships, for images that have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(stripe.ca_bundle_path)
    return context


def _seconds(timeout: object) -> float:
    assert isinstance(timeout, (int, float)), "Transport gives every request a total timeout"
    return float(timeout)

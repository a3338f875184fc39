"""The pool of connections to Stripe."""

from __future__ import annotations

import ssl

import stripe
import urllib3
from urllib3.connection import HTTPSConnection

from worker.bounded_http import BoundedConnection
from worker.domain.deadline import boot_time


class _Bounded(BoundedConnection):
    """A request's time goes on while the machine is suspended, as its lease does."""

    def clock(self) -> float:
        return boot_time()


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

"""Asks a JWKS URL for its document, within bounds of time and size."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from http import HTTPStatus

import urllib3
from urllib3.connection import HTTPSConnection

from worker.bounded_http import BoundedConnection, BoundedPool
from worker.errors import Unavailable

TIMEOUT = 3.0
"""Seconds for all of it: some of the API's threads may wait for it, once a minute."""

MAX_BYTES = 1024 * 1024


class _BoundedTls(BoundedConnection, HTTPSConnection):
    pass


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedTls


def fetcher(url: str) -> Callable[[], bytes]:
    """Fetches `url` when called; it follows no redirect. That raises `Unavailable`."""
    parts = urllib3.util.parse_url(url)
    host, timeout = parts.host or "", urllib3.Timeout(total=TIMEOUT)
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        context = ssl.create_default_context()
        pool = _TlsPool(host, parts.port, maxsize=1, timeout=timeout, retries=False, ssl_context=context)
    else:
        pool = BoundedPool(host, parts.port, maxsize=1, timeout=timeout, retries=False)

    def fetch() -> bytes:
        try:
            with pool.request("GET", parts.request_uri, preload_content=False) as response:
                body: bytes = response.read(MAX_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable("jwks", f"{url}: {type(error).__name__}") from error
        if response.status != HTTPStatus.OK:
            raise Unavailable("jwks", f"{url}: HTTP {response.status}")
        return body

    return fetch

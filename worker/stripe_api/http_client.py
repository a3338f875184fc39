"""The HTTP under the `stripe` client: keep-alive connections and one total deadline per request.

Socket timeouts bound each read, not their sum: a peer that sends a byte a second would hold a thread for ever. Here
every read of a response, headers included, gets only what is left of the request's time.

    APIConnectionError(code=…)
    ├── stripe_timeout       no complete answer in time; it may have happened
    ├── stripe_connection    refused, reset or closed before an answer (`should_retry`: it failed at once)
    ├── stripe_tls           the certificate or the handshake
    └── stripe_answer_size   more than MAX_BODY

`why` is what the system or the TLS library says of it: words about connections, never of what went through them.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar

import stripe
import urllib3
from pydantic_core import from_json
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from worker.bounded_http import BoundedConnection
from worker.domain.deadline import boot_time

MAX_BODY = 16 * 1024 * 1024
"""Bytes. A page of 100 subscriptions has under 1 MB."""

CHUNK = 64 * 1024

TIMEOUT_HEADER = "Subkeeper-Timeout"
"""What a request may take in all, in seconds: `stripe`'s client hands its HTTP client headers, but no timeout. It is
never sent."""


class Headers(dict[str, str]):
    """A response's, by names in lower case. `content`: of the answer, which `stripe` was spared: it makes OrderedDicts
    of it, and a log line that nobody asked for. A page of 100 subscriptions with their invoices (570 kB) took 14 ms of
    processor time so, as plain JSON 5 ms, and by pydantic's parser a third less than that; one subscription (6 kB) 110
    and 33 µs."""

    content: Mapping[str, object] | None = None


class HttpClient(stripe.HTTPClient):
    """One origin, a pool of connections, no redirects, no retries, verified TLS."""

    name: ClassVar[str] = "urllib3"

    def __init__(self, origin: str, connections: int) -> None:
        """`origin`: scheme, host and port. `connections`: how many are kept open; more threads open more."""
        super().__init__()
        self._origin = origin
        self._pool = pool_for(origin, connections)

    def request(  # type: ignore[override]  # the base class says str, and hands bytes through
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: str | None = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[bytes, int, Headers]:
        """Send and read completely. Header names come back in lower case, as `stripe` wants to find them."""
        sent = dict(headers or {})
        timeout = float(sent.pop(TIMEOUT_HEADER))
        try:
            response = self._pool.urlopen(
                method.upper(),
                url.removeprefix(self._origin),
                body=post_data,
                headers=sent,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(total=timeout),
                preload_content=False,
            )
            headers_told = Headers((name.lower(), value) for name, value in response.headers.items())
            return _spared(_body(response), response.status, headers_told), response.status, headers_told
        except (HTTPError, OSError) as error:
            raise _unanswered(error) from error

    def close(self) -> None:
        self._pool.close()


class NoAnswer(stripe.APIConnectionError):
    """Stripe didn't answer. `code` as above; `at_once`: it failed quickly, and may be tried again at once."""

    def __init__(self, code: str, why: str | None = None, *, at_once: bool = False) -> None:
        super().__init__(code, code=code, should_retry=at_once)  # type: ignore[no-untyped-call]  # stripe's
        self.why = why


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    chunks, size = [], 0
    while chunk := response.read(CHUNK, decode_content=False):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            response.close()
            raise NoAnswer("stripe_answer_size")
    return b"".join(chunks)


def _spared(body: bytes, status: int, headers: Headers) -> bytes:
    """What `stripe` gets to read."""
    if status != HTTPStatus.OK:
        return body
    try:
        content = from_json(body)
    except ValueError:  # that is for `stripe` to say
        return body
    if not isinstance(content, dict):
        return body
    headers.content = content
    return b"{}"


def _unanswered(error: Exception) -> NoAnswer:
    if isinstance(error, SSLError):
        return NoAnswer("stripe_tls", _why(error))
    timed_out = isinstance(error, (ConnectTimeoutError, ReadTimeoutError, TimeoutError))
    if timed_out and not isinstance(error, NewConnectionError):  # refused, though it derives from a timeout
        return NoAnswer("stripe_timeout")
    return NoAnswer("stripe_connection", _why(error), at_once=True)


def _why(error: BaseException) -> str:
    """The system's words for the first cause that has some, else that cause's type."""
    while True:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, ssl.SSLError) and error.reason:
            return error.reason.lower().replace("_", " ")
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
        if (below := error.__cause__ or error.__context__ or inner) is None:
            return type(error).__name__
        error = below


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

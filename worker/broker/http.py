"""The HTTP interfaces of nsqd and nsqlookupd, with the timeout that nsq-py's lack: for all of a request together."""

from __future__ import annotations

import http
import json
from typing import Any
from urllib.parse import urlencode

import urllib3

from worker.bounded_http import BoundedConnection
from worker.errors import Unavailable

MAX_ANSWER_BYTES = 16 * 1024 * 1024

_FOREIGN = (urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError)


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = BoundedConnection


class HttpApi:
    """`dependency` is `"nsqd"` or `"nsqlookupd"`; whatever goes wrong is Unavailable of it. `timeout` in seconds.

    An `address` that is none is Unavailable, too: an nsqlookupd repeats whatever was registered.
    """

    def __init__(self, dependency: str, address: str, timeout: float) -> None:
        self.address = address
        self._dependency = dependency
        limit = urllib3.Timeout(total=timeout)
        try:
            url = urllib3.util.parse_url(f"http://{address}")
            self._pool = _Pool(url.host or "", url.port, timeout=limit, retries=False, maxsize=1)
        except urllib3.exceptions.LocationValueError as exc:
            raise self.failed("is not an address") from exc

    def get(self, path: str, **fields: str) -> dict[str, Any]:
        """The JSON object of a 200; empty for a 404 (a topic that nobody has published to)."""
        return self._request("GET", path, fields)

    def number(self, path: str) -> int | None:
        """The number that a 200 is; None where it isn't told (a 403, or a path that is not known)."""
        status, body = self._exchange("GET", path, {})
        try:
            value = json.loads(body) if status == http.HTTPStatus.OK else None
        except _FOREIGN as exc:
            raise self.failed(_words(exc)) from exc
        return value if isinstance(value, int) else None

    def post(self, path: str, **fields: str) -> None:
        self._request("POST", path, fields)

    def close(self) -> None:
        self._pool.close()

    def failed(self, problem: str) -> Unavailable:
        return Unavailable(self._dependency, f"{self.address}: {problem}")

    def _request(self, method: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
        status, body = self._exchange(method, path, fields)
        if status == http.HTTPStatus.NOT_FOUND:
            return {}
        try:
            answer = json.loads(body) if body and status == http.HTTPStatus.OK else {}
        except _FOREIGN as exc:
            raise self.failed(_words(exc)) from exc
        if status != http.HTTPStatus.OK or not isinstance(answer, dict):
            raise self.failed(f"HTTP {status}")
        return answer

    def _exchange(self, method: str, path: str, fields: dict[str, str]) -> tuple[int, bytes]:
        try:
            response = self._pool.request(method, f"{path}?{urlencode(fields)}", preload_content=False)
            with response:
                return response.status, response.read(MAX_ANSWER_BYTES)
        except _FOREIGN as exc:
            raise self.failed(_words(exc)) from exc


def _words(exc: BaseException) -> str:
    """The system's words (`Connection refused`), which lie below urllib3's error; else what kind of error it is."""
    if isinstance(exc, ValueError | RecursionError):
        return "an answer that can't be read: is it another service?"
    below: BaseException | None = exc
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return "no answer in time" if isinstance(exc, urllib3.exceptions.TimeoutError) else type(exc).__name__

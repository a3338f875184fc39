"""The HTTP interfaces of nsqd and nsqlookupd, with the timeout that nsq-py's lack."""

from __future__ import annotations

import http
import json
from typing import Any
from urllib.parse import urlencode

import urllib3

from worker.errors import Unavailable

MAX_ANSWER_BYTES = 16 * 1024 * 1024

_FOREIGN = (urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError)


class HttpApi:
    """`dependency` is `"nsqd"` or `"nsqlookupd"`; whatever goes wrong is Unavailable of it. `timeout` in seconds."""

    def __init__(self, dependency: str, address: str, timeout: float) -> None:
        self.address = address
        self._dependency = dependency
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(total=timeout), retries=False, maxsize=1)

    def get(self, path: str, **fields: str) -> dict[str, Any]:
        """The JSON object of a 200; empty for a 404 (a topic that nobody has published to)."""
        return self._request("GET", path, fields)

    def post(self, path: str, **fields: str) -> None:
        self._request("POST", path, fields)

    def close(self) -> None:
        self._http.clear()

    def failed(self, problem: str) -> Unavailable:
        return Unavailable(self._dependency, f"{self.address}: {problem}")

    def _request(self, method: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
        url = f"http://{self.address}{path}?{urlencode(fields)}"
        try:
            response = self._http.request(method, url, preload_content=False)
            with response:
                body = response.read(MAX_ANSWER_BYTES)
            if response.status == http.HTTPStatus.NOT_FOUND:
                return {}
            answer = json.loads(body) if body and response.status == http.HTTPStatus.OK else {}
        except _FOREIGN as exc:
            raise self.failed(type(exc).__name__) from exc
        if response.status != http.HTTPStatus.OK or not isinstance(answer, dict):
            raise self.failed(f"HTTP {response.status}")
        return answer

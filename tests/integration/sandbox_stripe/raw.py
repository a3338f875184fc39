"""A bare HTTP client: what Stripe's own hides (headers, odd requests, broken answers)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: Mapping[str, str]
    body: Any


class Raw:
    """One request per connection, by default with the server's secret key."""

    def __init__(self, url: str, secret_key: str) -> None:
        self._address = urlsplit(url).netloc
        self._secret_key = secret_key

    def __call__(
        self,
        method: str,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
        timeout: float = 10.0,
        **headers: str,
    ) -> RawAnswer:
        """`params` go where the method wants them; headers are named with underscores."""
        sent = {"Authorization": f"Bearer {self._secret_key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Idempotency-Key"] = key
        form = urlencode(params or {})
        body = form if method == "POST" else None
        connection = http.client.HTTPConnection(self._address, timeout=timeout)
        try:
            connection.request(method, path if body is not None or not form else f"{path}?{form}", body, sent)
            response = connection.getresponse()
            return RawAnswer(response.status, dict(response.getheaders()), json.loads(response.read()))
        finally:
            connection.close()

    def post(self, path: str, *, key: str | None = None, timeout: float = 10.0, **params: object) -> RawAnswer:
        return self("POST", path, params, key=key, timeout=timeout)

    def get(self, path: str, **params: object) -> RawAnswer:
        return self("GET", path, params)

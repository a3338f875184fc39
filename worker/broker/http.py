"""The HTTP interfaces of nsqd and nsqlookupd, with the timeout that nsq-py's lack: for all of a request together."""

from __future__ import annotations

import http
import json
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urlencode

import urllib3

from worker.bounded_http import BoundedPool
from worker.domain.address import Address
from worker.errors import Unavailable

MAX_ANSWER_BYTES = 16 * 1024 * 1024

_FOREIGN = (urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError)


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
            self._pool = BoundedPool(url.host or "", url.port, timeout=limit, retries=False, maxsize=1)
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


class Identity(NamedTuple):
    """What tells an nsqd from all others, under whatever name it was reached."""

    hostname: str
    broadcast_address: str
    tcp_port: int
    http_port: int
    start_time: int


class ChannelState(NamedTuple):
    """A topic's channel on one nsqd; `paused`: it is, or its topic."""

    exists: bool
    paused: bool


class NsqdApi(HttpApi):
    """Every method raises `Unavailable` when nsqd doesn't answer, or something else does."""

    def __init__(self, address: str, timeout: float) -> None:
        super().__init__("nsqd", address, timeout)

    def identity(self) -> Identity:
        info = self.get("/info")
        try:
            names = str(info["hostname"]), str(info["broadcast_address"])
            return Identity(*names, *(int(info[name]) for name in ("tcp_port", "http_port", "start_time")))
        except (KeyError, TypeError, ValueError) as exc:
            raise self.failed("what answers is not an nsqd") from exc

    def has_channel(self, topic: str, channel: str) -> bool:
        return channel in {entry.get("channel_name") for entry in self._channels(topic, channel)}

    def channel_state(self, topic: str, channel: str) -> ChannelState:
        channels = self._channels(topic, channel)
        paused = any(entry.get("paused") for entry in (*self._topics(topic, channel), *channels))
        return ChannelState(bool(channels), paused)

    def option(self, name: str) -> int | None:
        """One of its settings (`max_msg_size`); None where it doesn't tell."""
        return self.number(f"/config/{name}")

    def create_channel(self, topic: str, channel: str) -> None:
        """With its topic; both may be there."""
        self.post("/topic/create", topic=topic)
        self.post("/channel/create", topic=topic, channel=channel)

    def depth(self, topic: str, channel: str) -> int:
        """Messages that wait in the channel."""
        return sum(int(entry.get("depth", 0)) for entry in self._channels(topic, channel))

    def unfinished(self, topic: str, channel: str) -> int:
        """Messages that the channel has not finished, in flight and deferred ones and the topic's own included."""
        counts = ("depth", "in_flight_count", "deferred_count")
        in_topic = sum(int(entry.get("depth", 0)) for entry in self._topics(topic, channel))
        return in_topic + sum(int(entry.get(count, 0)) for entry in self._channels(topic, channel) for count in counts)

    def _channels(self, topic: str, channel: str) -> list[dict[str, Any]]:
        try:
            return [entry for found in self._topics(topic, channel) for entry in found.get("channels") or []]
        except (AttributeError, TypeError) as exc:
            raise self.failed("an answer that can't be read") from exc

    def _topics(self, topic: str, channel: str) -> list[dict[str, Any]]:
        only = {"topic": topic, "channel": channel, "include_clients": "false", "include_mem": "false"}
        return self.get("/stats", format="json", **only).get("topics") or []


def default_http(tcp: Address) -> str:
    """Where an nsqd's HTTP interface is unless it was told otherwise: at the next port (4150, 4151)."""
    return str(Address(tcp.host, tcp.port + 1))


def http_beside(tcp: Address, timeout: float) -> str | None:
    """`default_http`, if what answers there within `timeout` seconds says that it is this nsqd."""
    http = default_http(tcp)
    try:
        with closing(NsqdApi(http, timeout)) as api:
            return http if api.identity().tcp_port == tcp.port else None
    except Unavailable:
        return None

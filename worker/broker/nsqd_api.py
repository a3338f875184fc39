"""What one nsqd tells, and does, over HTTP."""

from __future__ import annotations

from contextlib import closing
from typing import Any, NamedTuple

from worker.broker.address import Address
from worker.broker.http import HttpApi
from worker.errors import Unavailable


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

"""nsqd and nsqlookupd as parts of the sandbox."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlencode

from sandbox import binaries, ports
from sandbox.errors import PartFailed
from sandbox.part import Part
from sandbox.workspace import Workspace

HTTP_TIMEOUT = 5.0


class Tls(NamedTuple):
    """What an nsqd needs to speak TLS: PEM files, and what it asks of its clients.

    `required` is nsqd's `--tls-required` (`"true"`: also on HTTP; `"tcp-https"`: plain HTTP stays);
    `client_ca` makes it demand a certificate that this authority signed.
    """

    certificate: Path
    key: Path
    required: str = "tcp-https"
    client_ca: Path | None = None


class _NsqPart(Part):
    """What nsqd and nsqlookupd share: a TCP port, an HTTP port with `/ping`, options on the command line."""

    def choose_ports(self) -> None:
        self.tcp_port, self.http_port = ports.free_port(), ports.free_port()

    def ports(self) -> set[int]:
        return {self.tcp_port, self.http_port}

    @property
    def tcp_address(self) -> str:
        """`host:port` of the TCP protocol."""
        return f"127.0.0.1:{self.tcp_port}"

    @property
    def http_address(self) -> str:
        """`host:port` of the HTTP interface."""
        return f"127.0.0.1:{self.http_port}"

    def answers(self) -> bool:
        try:
            self._request("GET", "/ping")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def http(self, method: str, path: str, *, body: bytes | None = None, **query: str) -> bytes:
        """The answer of the HTTP interface to this request; raises `PartFailed` unless it is a 200."""
        status, answer = self._request(method, f"{path}?{urlencode(query)}", body)
        if status != http.client.OK:
            raise PartFailed(self.name, f"{method} {path} was answered {status}: {answer.decode(errors='replace')}")
        return answer

    def _request(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=HTTP_TIMEOUT)
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class Nsqlookupd(_NsqPart):
    """An nsqlookupd: tells where the topics are."""

    name: ClassVar[str] = "nsqlookupd"

    def command(self) -> list[str]:
        return [
            str(binaries.nsqlookupd()),
            f"--tcp-address={self.tcp_address}",
            f"--http-address={self.http_address}",
            "--broadcast-address=127.0.0.1",
        ]


class Nsqd(_NsqPart):
    """An nsqd that keeps every message on disk (`--mem-queue-size=0 --sync-every=1`).

    `flags` come last and so override what is set here, such as `"--max-msg-size=4096"`; `auth_http_address`
    (`host:port`) makes it ask that server about every client's secret.
    """

    name: ClassVar[str] = "nsqd"

    def __init__(
        self,
        workspace: Workspace,
        *,
        lookupds: Sequence[Nsqlookupd] = (),
        tls: Tls | None = None,
        auth_http_address: str | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__(workspace)
        self._lookupds = lookupds
        self._tls = tls
        self._auth = auth_http_address
        self._flags = flags

    def choose_ports(self) -> None:
        super().choose_ports()
        self.https_port = ports.free_port()

    def command(self) -> list[str]:
        return [
            str(binaries.nsqd()),
            f"--tcp-address={self.tcp_address}",
            f"--http-address={self.http_address}",
            f"--https-address=127.0.0.1:{self.https_port}",
            "--broadcast-address=127.0.0.1",
            f"--data-path={self.directory}",
            "--mem-queue-size=0",
            "--sync-every=1",
            *(f"--lookupd-tcp-address={lookupd.tcp_address}" for lookupd in self._lookupds),
            *self._tls_flags(),
            *([f"--auth-http-address={self._auth}"] if self._auth else []),
            *self._flags,
        ]

    def create_topic(self, topic: str) -> None:
        """Creates the topic, unless it is there."""
        self.http("POST", "/topic/create", topic=topic)

    def create_channel(self, topic: str, channel: str) -> None:
        """Creates the topic and this channel on it, unless they are there; messages are kept for it from now on."""
        self.create_topic(topic)
        self.http("POST", "/channel/create", topic=topic, channel=channel)

    def publish(self, topic: str, *bodies: bytes) -> None:
        """Publishes these messages one by one over HTTP, each on disk when its request returns."""
        for body in bodies:
            self.http("POST", "/pub", body=body, topic=topic)

    def published(self, topic: str) -> int:
        """How many messages it was given for the topic so far."""
        stats = json.loads(self.http("GET", "/stats", format="json", topic=topic))
        return sum(int(known["message_count"]) for known in stats["topics"])

    def channel(self, topic: str, channel: str) -> dict[str, Any]:
        """nsqd's own statistics of this channel (`depth`, `in_flight_count`, `clients`, …); `{}` if there is none."""
        stats = json.loads(self.http("GET", "/stats", format="json", topic=topic, channel=channel))
        found = [entry for known in stats["topics"] or [] for entry in known["channels"]]
        return dict(found[0]) if found else {}

    def _tls_flags(self) -> list[str]:
        if self._tls is None:
            return []
        client = self._tls.client_ca
        return [
            f"--tls-cert={self._tls.certificate}",
            f"--tls-key={self._tls.key}",
            f"--tls-required={self._tls.required}",
            *([f"--tls-root-ca-file={client}", "--tls-client-auth-policy=require-verify"] if client else []),
        ]

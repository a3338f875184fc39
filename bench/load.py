"""HTTP requests as fast as they are answered, from a program that does nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any, cast

import uvloop


class _Client(asyncio.Protocol):
    """A connection that asks again as soon as it is answered."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._load.answered(head[9:12].decode(), time.perf_counter() - self._began)
            self._answer = b""
            if not self._load.is_over:
                self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self._load.is_over:
            self._load.answered("lost", 0.0)

    def _ask(self) -> None:
        self._began = time.perf_counter()
        if (request := self._load.next_request()) is not None:
            self._transport.write(request)


class Load:
    """Requests, made before, each connection's next one sent when it has the last one's answer. `once`: it is over when
    each was sent and answered."""

    def __init__(self, requests: list[bytes], *, once: bool) -> None:
        self._requests = requests
        self._once = once
        self._done = asyncio.Event()
        self._sent = 0
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self.is_over = False

    def next_request(self) -> bytes | None:
        """None: all were sent."""
        if self._once and self._sent == len(self._requests):
            return None
        self._sent += 1
        return self._requests[self._sent % len(self._requests)]

    def answered(self, status: str, seconds: float) -> None:
        self._statuses[status] += 1
        self._latencies.append(seconds)
        if self._once and len(self._latencies) == len(self._requests):
            self._done.set()

    def measured(self, host: str, port: int, connections: int, seconds: float) -> dict[str, Any]:
        """Rate, latencies and statuses of `seconds` on so many connections, and what this program itself took."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._run(host, port, connections, seconds))

    async def _run(self, host: str, port: int, connections: int, seconds: float) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        began, used, at = time.perf_counter(), time.process_time(), time.time()
        transports = [(await loop.create_connection(lambda: _Client(self), host, port))[0] for _ in range(connections)]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), seconds)
        took, used = time.perf_counter() - began, time.process_time() - used
        self.is_over = True
        for transport in transports:
            transport.abort()
        return self._figures(took, used) | {"began": at}

    def _figures(self, took: float, used: float) -> dict[str, Any]:
        ordered = sorted(self._latencies) or [0.0]
        ranks = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
        return {
            "per_second": round(len(self._latencies) / took),
            "ms": {
                rank: round(1e3 * ordered[min(len(ordered) - 1, int(q * len(ordered)))], 2) for rank, q in ranks.items()
            },
            "statuses": dict(self._statuses),
            "load_cpu_percent": round(100 * used / took, 1),
        }

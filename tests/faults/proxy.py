"""A TCP proxy on loopback that does to connections what networks do: the weather between a worker and one server.

It runs in a thread of its own; `weather` may change at any time and holds for all connections, old and new. What is
drawn (pauses, places to split) comes from `rng`, so that a seed repeats it as far as the kernel does.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

CHUNK = 64 * 1024
LONGEST_PIECE = 7
"""Bytes. Shorter than the header of an NSQ frame (8), so that every frame is split in its header as well."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to bytes and connections.

    delay: mean seconds before a chunk is passed on, in each direction. pieces: chunks arrive in a few bytes at a time.
    held: nothing passes in either direction, and connections stay open (lost packets); what was held passes later.
    accept: what happens to a new connection; `mute` takes it, reads, and never answers (half-open).
    cut_after: each connection ends after so many bytes (drawn up to that), in the middle of whatever it is.
    """

    delay: float = 0.0
    pieces: bool = False
    held: bool = False
    accept: Literal["forward", "mute", "close", "reset"] = "forward"
    cut_after: int | None = None


FAIR = Weather()


class Pair:
    """A client's connection and the one that was made to the server for it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter | None) -> None:
        self.client, self.server = client, server
        self.mute = server is None
        self.lingering = False

    def close(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()

    def reset(self) -> None:
        """Both ends hear RST, and lose what was not read yet."""
        for writer in (self.client, self.server):
            if writer is not None:
                raw: socket.socket = writer.get_extra_info("socket")
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


class Proxy:
    """`with Proxy(port, rng) as proxy:` clients dial `proxy.port` and get to 127.0.0.1:`port`."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self.target = target
        self.port = 0
        self.weather = FAIR
        self.accepted = 0
        self._rng = rng
        self._pairs: set[Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"proxy to {target}", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(5), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    # What can be done to the connections there are

    def heal(self) -> None:
        """Fair weather; connections that were made mute stay so, as after a peer's reboot."""
        self.weather = FAIR

    def cut(self) -> None:
        """Closes every connection in both directions (FIN)."""
        self._each(Pair.close)

    def reset(self) -> None:
        """Resets every connection (RST)."""
        self._each(Pair.reset)

    def mute(self) -> None:
        """Every connection loses its server for good, and its client hears nothing of it (half-open)."""
        self._each(_mute)

    def close_slowly(self) -> None:
        """Every client hears that the server has closed, and stays connected: what it still sends is read, and lost."""
        self._each(_close_slowly)

    def _each(self, act: Callable[[Pair], None]) -> None:
        done = threading.Event()

        def run() -> None:
            for pair in list(self._pairs):
                act(pair)
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(5), "the proxy hangs"

    # The loop's thread

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        server.close()
        self.heal()
        while self._pairs:
            for pair in list(self._pairs):
                pair.reset()
            await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        manner = self.weather.accept
        if manner in ("close", "reset"):
            pair = Pair(writer, None)
            (pair.close if manner == "close" else pair.reset)()
            return
        back: asyncio.StreamReader | None = None
        out: asyncio.StreamWriter | None = None
        if manner == "forward":
            try:
                back, out = await asyncio.open_connection("127.0.0.1", self.target)
            except OSError:
                Pair(writer, None).reset()
                return
        await self._forward(Pair(writer, out), reader, back)

    async def _forward(self, pair: Pair, client: asyncio.StreamReader, server: asyncio.StreamReader | None) -> None:
        for writer in (pair.client, pair.server):
            if writer is not None:
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.add(pair)
        try:
            ways = [self._pump(pair, client, pair.server)]
            if server is not None:
                ways.append(self._pump(pair, server, pair.client))
            await asyncio.gather(*ways)
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _pump(self, pair: Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter | None) -> None:
        """One direction, until its source ends. The server's end, and any failure, ends both."""
        left = self._rng.randint(1, most) if (most := self.weather.cut_after) else None
        with suppress(OSError, RuntimeError):  # asyncio's word for writing after the end that `close_slowly` wrote
            while chunk := await source.read(CHUNK):
                while self.weather.held:  # noqa: ASYNC110 - it is set from another thread
                    await asyncio.sleep(0.02)
                if pair.mute or sink is None:
                    continue
                if left is not None and (left := left - len(chunk)) <= 0:
                    sink.write(chunk[:left] if left else chunk)
                    await sink.drain()
                    break
                await self._pass(chunk, sink)
        if not (pair.mute and sink is pair.client):  # a mute pair outlives its server
            pair.close()

    async def _pass(self, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        weather = self.weather
        if weather.delay:
            await asyncio.sleep(weather.delay * self._rng.uniform(0.5, 1.5))
        if not weather.pieces:
            sink.write(chunk)
            await sink.drain()
            return
        position = 0
        while position < len(chunk):
            end = position + self._rng.randint(1, LONGEST_PIECE)
            sink.write(chunk[position:end])
            await sink.drain()
            await asyncio.sleep(0)
            position = end


def _mute(pair: Pair) -> None:
    pair.mute = True
    if pair.server is not None:
        pair.server.close()


def _close_slowly(pair: Pair) -> None:
    _mute(pair)
    with suppress(OSError, RuntimeError):
        pair.client.write_eof()

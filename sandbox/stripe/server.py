"""Runs the sandbox's Stripe: `serve` in a process of its own, `StripeServer` in a thread of a test's."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

from aiohttp import web

from sandbox.stripe.events.sender import sending
from sandbox.stripe.service import Service
from sandbox.stripe.web import Handler

_GOODBYE_SECONDS = 0.2  # for open requests when the server stops; hanging ones are cut


_TURN_SECONDS = 0.02  # between two looks at test clocks


def _service(secret_key: str | None, seed: str, state_file: Path | None, unlimited_test_clocks: bool) -> Service:
    return Service(
        secret_key=secret_key,
        seed=seed,
        state_file=state_file,
        now=time.time,
        monotonic=time.monotonic,
        unlimited_test_clocks=unlimited_test_clocks,
    )


async def _turn(service: Service) -> None:
    """Test clocks advance whether anybody asks or not."""
    while True:
        more = service.turn()
        await asyncio.sleep(_TURN_SECONDS / 10 if more else _TURN_SECONDS)


@contextlib.asynccontextmanager
async def _listening(service: Service, host: str, port: int) -> AsyncIterator[str]:
    """Listens on `host`:`port` (0 for a free one) and yields the base URL; delivers events meanwhile."""
    changed = asyncio.Event()
    service.ledger.deliveries.changed = changed.set
    server = web.Server(Handler(service), access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_GOODBYE_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024, reuse_address=True)
        await site.start()
        turning = asyncio.create_task(_turn(service))
        bound = runner.addresses[0]
        url = f"http://[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"http://{bound[0]}:{bound[1]}"
        service.ledger.url = url
        try:
            async with sending(service.webhooks, changed):
                yield url
        finally:
            turning.cancel()
    finally:
        await runner.cleanup()
        service.ledger.close()


def serve(
    host: str,
    port: int,
    *,
    secret_key: str | None,
    seed: str,
    ready: Callable[[str], None],
    state_file: Path | None = None,
    unlimited_test_clocks: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT; calls `ready` with the base URL once it listens. Call it in the main thread.

    `secret_key` None: one drawn from `seed`. With `state_file`, objects and idempotency results survive a kill.
    `unlimited_test_clocks` lifts Stripe's limits of customers and subscriptions on a test clock.
    """
    service = _service(secret_key, seed, state_file, unlimited_test_clocks)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with _listening(service, host, port) as url:
            ready(url)
            await stop.wait()

    asyncio.run(run())


class StripeServer:
    """The same server in a thread: `with StripeServer(seed="x") as stripe: … stripe.url, stripe.secret_key`."""

    def __init__(
        self,
        *,
        seed: str = "sandbox",
        secret_key: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        state_file: Path | None = None,
        unlimited_test_clocks: bool = False,
    ) -> None:
        self.service = _service(secret_key, seed, state_file, unlimited_test_clocks)
        self.secret_key = self.service.secret_key
        self.account = self.service.account
        self.url = ""
        self._address = (host, port)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="sandbox-stripe", daemon=True)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - handed to whoever called start
            self._failure = error
        finally:
            self._started.set()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with _listening(self.service, *self._address) as url:
            self.url = url
            self._started.set()
            await self._stop.wait()

    def start(self) -> Self:
        """Returns once it listens; raises what kept it from it."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Stops listening and cuts what is open; safe to repeat."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

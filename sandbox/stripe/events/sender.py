"""Sends what is due to webhook endpoints: tasks beside the API's, so that a slow endpoint delays nobody but itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from sandbox.stripe.events.deliveries import Delivery, Outcome
from sandbox.stripe.events.mishaps import Fate
from sandbox.stripe.events.webhooks import Letter, Webhooks

_LOOK_SECONDS = 0.5  # how soon what real time brought is noticed
_HOLD_MS = 1000.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One POST to be made, of attempt number `attempt`; that of a `copy` decides nothing."""

    delivery: Delivery
    attempt: int
    fate: Fate
    copy: bool = False


@dataclass(slots=True)
class _Lane:
    """An endpoint's jobs, how many are under way, and those that are held until others come."""

    waiting: deque[_Job] = field(default_factory=deque)
    active: int = 0
    held: list[_Job] = field(default_factory=list)


class Sender:
    """Runs inside `sending`."""

    def __init__(self, webhooks: Webhooks, session: aiohttp.ClientSession, wake: asyncio.Event) -> None:
        self._webhooks = webhooks
        self._session = session
        self._wake = wake
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is canceled."""
        try:
            while True:
                self._wake.clear()
                for delivery in self._webhooks.due():
                    self._take(delivery)
                await self._sleep()
        finally:
            for task in self._tasks:
                task.cancel()

    async def _sleep(self) -> None:
        due = self._webhooks.seconds_to_next()
        look = _LOOK_SECONDS if self._webhooks.listened_to else None
        timeout = look if due is None or look is None else min(due, look)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout)

    def _take(self, delivery: Delivery) -> None:
        fate = self._webhooks.fate(delivery)
        if fate.drop is not None:
            self._drop(delivery, fate)
            return
        for copy in range(fate.copies):
            job = _Job(delivery, delivery.attempts + 1, fate, copy=copy > 0)
            self._later(fate.delay + copy * fate.gap, job)

    def _drop(self, delivery: Delivery, fate: Fate) -> None:
        letter = self._webhooks.letter(delivery, delivery.attempts + 1)
        if letter is not None:
            self._webhooks.note(letter, problem="dropped", mishaps=fate.names)
        assert fate.drop is not None
        unheard: Outcome = "failed" if fate.drop.retried else "abandoned"
        self._webhooks.finish(delivery, "delivered" if fate.drop.acknowledged else unheard)

    def _later(self, seconds: float, job: _Job) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._arrive, job)
        else:
            self._arrive(job)

    def _arrive(self, job: _Job) -> None:
        lane = self._lanes.setdefault(job.delivery.endpoint, _Lane())
        hold = job.fate.hold
        if hold is None:
            lane.waiting.append(job)
            self._pump(lane)
            return
        lane.held.append(job)
        if len(lane.held) >= hold.held:
            self._release(lane)
        elif len(lane.held) == 1:
            asyncio.get_running_loop().call_later((hold.ms or _HOLD_MS) / 1000, self._release, lane)

    def _release(self, lane: _Lane) -> None:
        """What was held leaves, in the order that the last of it asks for."""
        if not lane.held:
            return
        jobs, lane.held = lane.held[::-1], []
        hold = jobs[0].fate.hold
        if hold is not None and hold.order == "shuffle":
            self._webhooks.mishaps.rng.shuffle(jobs)
        lane.waiting.extend(jobs)
        self._pump(lane)

    def _pump(self, lane: _Lane) -> None:
        while lane.waiting and lane.active < self._webhooks.at_once:
            lane.active += 1
            self._spawn(self._work(lane, lane.waiting.popleft()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, lane: _Lane, job: _Job) -> None:
        try:
            await self._deliver(job)
        finally:
            lane.active -= 1
            self._pump(lane)

    async def _deliver(self, job: _Job) -> None:
        letter = self._webhooks.letter(job.delivery, job.attempt)
        if letter is None:
            if not job.copy:
                self._webhooks.finish(job.delivery, "abandoned")
            return
        started = time.monotonic()
        status, problem = await self._post(letter)
        ms = (time.monotonic() - started) * 1000
        self._webhooks.note(letter, status=status, problem=problem, ms=ms, mishaps=job.fate.names)
        if not job.copy:
            self._webhooks.finish(job.delivery, "delivered" if 200 <= status < 300 else "failed")

    async def _post(self, letter: Letter) -> tuple[int, str | None]:
        """The answer's status (0 for none), and what went wrong."""
        timeout = aiohttp.ClientTimeout(total=self._webhooks.timeout)
        try:
            async with self._session.post(
                letter.url, data=letter.body, headers=letter.headers, timeout=timeout, allow_redirects=False
            ) as response:
                await response.read()
                return response.status, None
        except TimeoutError:
            return 0, "timeout"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, type(error).__name__


@contextlib.asynccontextmanager
async def sending(webhooks: Webhooks, changed: asyncio.Event) -> AsyncIterator[None]:
    """Sends while the block runs; `changed` is set when there is more to send, or the clock has moved."""
    connector = aiohttp.TCPConnector(
        limit=0, force_close=True
    )  # a kept connection that broke would be a failed attempt
    async with aiohttp.ClientSession(connector=connector) as session:
        task = asyncio.create_task(Sender(webhooks, session, changed).run())
        task.add_done_callback(_tell)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _tell(task: asyncio.Task[None]) -> None:
    """Says at once what ended the deliveries by itself; leaving the block raises it, too."""
    if not task.cancelled() and (error := task.exception()) is not None:
        what = {"message": "no more events are delivered", "exception": error, "task": task}
        task.get_loop().call_exception_handler(what)

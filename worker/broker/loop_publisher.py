"""Publishing from an event loop what many ask for at once: whatever waits goes to nsqd as one MPUB.

`worker.broker.publisher` is for who publishes now and then, from any thread. Beside a loop that serves HTTP its thread
would cost two wake-ups and two waits for Python's lock for each group.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from nsq import constants
from nsq.response import Error, Response

from worker.broker.asked import Asked, Then, Waiting, each_alone, tell
from worker.broker.connection import NsqConnection
from worker.broker.dialer import Dialer
from worker.broker.protocol import Broken, error_words, own_words
from worker.broker.publisher import ANSWER_TIMEOUT, REFUSED_BODY
from worker.errors import Rejected, SubkeeperError, Unavailable
from worker.settings.sections import NsqSettings

TICK = 0.25
"""Seconds between two looks at what has waited too long, and at the connection."""

AWAY_TIMEOUT = 1.0
"""Seconds that a publication may take while nsqd is known to be away: whoever waits is told soon."""


class LoopPublisher:
    """All of it on one event loop, between `__aenter__` and `__aexit__`; but what may block has threads of its own.

    `report` hears why nsqd is not to be had (None: it is), at each change of that.
    """

    def __init__(
        self,
        settings: NsqSettings,
        topic: str,
        *,
        rng: random.Random,
        timeout: float,
        report: Callable[[SubkeeperError | None], None],
    ) -> None:
        self._max_message = settings.max_message_bytes
        self._topic = topic
        self._timeout = timeout
        self._report = report
        self._dialer = Dialer(settings, rng)
        self._waiting = Waiting()
        self._flying: Sequence[Asked] = ()
        self._answer_by = 0.0
        self._connection: NsqConnection | None = None
        self._away: SubkeeperError | None = Unavailable("nsqd", "not connected yet")
        self._failures = 0
        self._is_due = False
        self._is_full = False
        self._is_encrypted = settings.tls.enabled
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._broke = asyncio.Event()
        self._tasks = [self._loop.create_task(self._keep_connected()), self._loop.create_task(self._look())]
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._hang_up()
        tell([*self._flying, *self._waiting.take_all()], Unavailable("nsqd", "this process is stopping"))
        self._flying = ()
        await self._loop.run_in_executor(None, self._dialer.close)

    def publish(self, body: bytes, then: Then) -> None:
        """`then` hears once, on the loop's thread: None after nsqd's OK; `Unavailable` at the end of `timeout` (it may
        have arrived all the same); `Rejected` where nsqd doesn't take this body or topic. Raises either where that is
        known at once."""
        if len(body) > self._max_message:
            raise Rejected("message_too_big", f"{len(body)} bytes are over nsq.max_message_bytes")
        if not self._tasks:
            raise Unavailable("nsqd", "this process is stopping")
        patience = self._timeout if self._away is None else min(AWAY_TIMEOUT, self._timeout)
        self._waiting.add(Asked(body, then, self._loop.time() + patience))
        self._send_soon()

    # A group to nsqd, and its answer

    def _send_soon(self) -> None:
        """Once all that this turn of the loop brings has been asked for."""
        if not self._is_due and not self._flying and self._connection is not None:
            self._is_due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_due = False
        connection = self._connection
        if connection is None or self._flying or not self._waiting:
            return
        self._flying = self._waiting.next_group()
        self._answer_by = self._loop.time() + ANSWER_TIMEOUT
        if len(self._flying) == 1:
            connection.pub(self._topic.encode(), self._flying[0].body)
        else:
            connection.mpub(self._topic.encode(), *(each.body for each in self._flying))
        self._flush()

    def _flush(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.flush()
        except Broken as broken:
            self._receive()  # nsqd says why before it hangs up
            if self._connection is connection:
                self._lost(broken)
            return
        if connection.unsent != self._is_full:
            self._is_full = connection.unsent
            if self._is_full:
                self._loop.add_writer(connection.sock.fileno(), self._flush)
            else:
                self._loop.remove_writer(connection.sock.fileno())

    def _receive(self) -> None:
        connection = self._connection
        if connection is None:
            return
        fault = None
        try:
            while connection.fill() and self._is_encrypted:  # else the loop tells of more
                pass
        except Broken as broken:
            fault = broken
        try:
            while self._connection is connection and (taken := connection.take(1)):
                self._heard(connection, taken[0])
        except Broken as nonsense:  # what came before it was heard
            fault = nonsense
        if fault is not None and self._connection is connection:
            self._lost(fault)

    def _heard(self, connection: NsqConnection, response: Response) -> None:
        if isinstance(response, Error):
            self._refused(Broken("refused", error_words(response)))
        elif response.data == constants.HEARTBEAT:
            connection.nop()
            self._flush()
        elif self._flying:
            flown, self._flying, self._failures = self._flying, (), 0
            tell(flown, None)
            self._send_soon()

    def _refused(self, broken: Broken) -> None:
        """nsqd hangs up after it."""
        flown, self._flying = self._flying, ()
        if broken.code in {*REFUSED_BODY, "E_BAD_TOPIC"}:
            self._failures = 0  # of nsqd's
            if len(flown) == 1:
                tell(flown, Rejected("message_refused", broken.detail))
                flown = ()
            flown = each_alone(flown)
        self._waiting.put_back(flown)
        self._lost(broken)

    # The connection

    async def _keep_connected(self) -> None:
        """nsqd may be there, and take nothing."""
        while True:
            self._broke.clear()
            try:
                connection = await self._loop.run_in_executor(None, self._dialed)
            except Exception as away:  # noqa: BLE001 - whatever it is, it is told, and tried again
                self._tell(away if isinstance(away, Unavailable) else Unavailable("nsqd", own_words(away)))
                self._failures += 1
            else:
                self._use(connection)
                await self._broke.wait()
            if self._failures:
                await asyncio.sleep(self._dialer.pause(self._failures))

    def _use(self, connection: NsqConnection) -> None:
        self._failures += 1  # until it has taken something
        self._connection = connection
        self._loop.add_reader(connection.sock.fileno(), self._receive)
        self._tell(None)
        self._send_soon()

    def _dialed(self) -> NsqConnection:
        """Blocks. Raises `Unavailable`."""
        try:
            connection = self._dialer.dial(self._topic, ANSWER_TIMEOUT)
        except Broken as broken:
            raise self._dialer.unavailable(broken) from broken
        connection.release()
        return connection

    def _lost(self, broken: Broken) -> None:
        """What was under way is published again: whether it had arrived isn't known."""
        if self._connection is not None:
            self._dialer.tell_lost(self._connection, broken)
        self._hang_up()
        self._waiting.put_back(self._flying)
        self._flying = ()
        self._broke.set()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._is_full = False
        if connection is not None:
            with suppress(OSError, ValueError):
                self._loop.remove_reader(connection.sock.fileno())
                self._loop.remove_writer(connection.sock.fileno())
            connection.close()

    # What takes too long

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._look_once()
            except Exception as error:  # noqa: BLE001 - without these looks whoever waits would wait for ever
                self._lost(Broken("unexpected", own_words(error)))

    async def _look_once(self) -> None:
        now = self._loop.time()
        if self._flying and now > self._answer_by:
            self._lost(Broken("timeout"))
        tell(self._waiting.take_late(now), self._away or Unavailable("nsqd", "it did not answer in time"))
        if self._dialer.finds and self._connection is not None:
            await self._leave_a_tombstoned(self._connection)

    async def _leave_a_tombstoned(self, connection: NsqConnection) -> None:
        leave = await self._loop.run_in_executor(None, self._dialer.is_to_be_left, connection, self._topic)
        if leave and connection is self._connection and not self._flying:
            self._lost(Broken("closed", "tombstoned"))

    def _tell(self, away: SubkeeperError | None) -> None:
        self._away = away
        self._report(away)

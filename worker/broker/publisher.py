"""Publishes, and returns only once nsqd has the messages."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from worker.broker.connection import NsqConnection
from worker.broker.dialer import Dialer
from worker.broker.handshake import await_answer
from worker.broker.protocol import Broken, split
from worker.errors import Rejected, Unavailable
from worker.settings.sections import NsqSettings

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for nsqd's OK before another connection is tried (an OK takes 1 ms, with a fsync each)."""

TOO_BIG = "message_too_big"
"""The reason of `Rejected` that may be one message's fault; any other is the same for all."""

REFUSED_BODY = {"E_BAD_MESSAGE", "E_BAD_BODY"}


class Publisher:
    """Keeps one connection, to whichever of its targets answered; moves on to the next when it fails. Thread-safe."""

    def __init__(self, settings: NsqSettings, *, rng: random.Random) -> None:
        self._max_message = settings.max_message_bytes
        self._dialer = Dialer(settings, rng)
        self._connection: NsqConnection | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def publish(self, topic: str, bodies: Sequence[bytes], timeout: float = 10.0) -> None:
        """Publish `bodies` to `topic`, at least once each, within `timeout` seconds; returns after nsqd's OK.

        Unavailable at the deadline: what nsqd did not confirm may or may not have arrived. Rejected when nsqd refuses a
        body for its size (`message_too_big`, `message_empty`) or the topic's name (`topic_invalid`): then nothing of
        the frame (see `batches`) with that body has arrived.
        """
        for body in bodies:
            self._check(body)
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=max(0.0, timeout)):
            raise Unavailable("nsqd", "another publication is still waiting for it")
        try:
            for frame in split(bodies):
                self._deliver(topic, frame, deadline)
        finally:
            self._lock.release()

    def connect(self, topic: str, timeout: float = 10.0) -> None:
        """Makes sure of a connection that could publish to `topic`. Unavailable where the next nsqd can't be had."""
        if not self._lock.acquire(timeout=max(0.0, timeout)):
            raise Unavailable("nsqd", "a publication is still waiting for it")
        try:
            self._connected(topic, time.monotonic() + timeout)
        except Broken as broken:
            raise self._dialer.unavailable(broken) from broken
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the connection; a publication that is waiting fails as Unavailable."""
        self._closed.set()
        with self._lock:
            self._hang_up()
            self._dialer.close()

    def _check(self, body: bytes) -> None:
        if not body:
            raise Rejected("message_empty", "nsqd takes no empty message")
        if len(body) > self._max_message:
            raise Rejected(TOO_BIG, f"{len(body)} bytes are over nsq.max_message_bytes ({self._max_message})")

    def _deliver(self, topic: str, bodies: Sequence[bytes], deadline: float) -> None:
        """Try until the deadline, each time on a connection that is believed good."""
        attempt = 0
        while True:
            try:
                self._send(topic, bodies, deadline)
            except Broken as broken:
                self._hang_up()
                if broken.code == "E_BAD_BODY" and len(bodies) > 1:  # this nsqd has a smaller --max-body-size
                    self._deliver(topic, bodies[: len(bodies) // 2], deadline)
                    self._deliver(topic, bodies[len(bodies) // 2 :], deadline)
                    return
                _raise_if_hopeless(broken, len(bodies))
                attempt += 1
                wait = self._dialer.pause(attempt)
                if time.monotonic() + wait >= deadline or self._closed.wait(wait):
                    raise self._dialer.unavailable(broken) from broken
            else:
                return

    def _send(self, topic: str, bodies: Sequence[bytes], deadline: float) -> None:
        if self._closed.is_set():
            raise Unavailable("nsqd", "the publisher is closed")
        connection = self._connected(topic, deadline)
        if len(bodies) == 1:
            connection.pub(topic.encode(), bodies[0])
        else:
            connection.mpub(topic.encode(), *bodies)
        answer = await_answer(connection, min(deadline, time.monotonic() + ANSWER_TIMEOUT))
        if answer != b"OK":
            raise Broken("bad_frame", "nsqd's answer was not OK")

    def _connected(self, topic: str, deadline: float) -> NsqConnection:
        """The connection, unless nsqd has closed it while it was idle or is to be left; else a new one to the next."""
        connection = self._connection
        if connection and (not connection.is_idle() or self._dialer.is_to_be_left(connection, topic)):
            self._hang_up()
        if self._connection is None:
            self._connection = self._dialer.dial(topic, max(0.01, deadline - time.monotonic()))
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _raise_if_hopeless(broken: Broken, count: int) -> None:
    if broken.reason != "refused":
        return
    if broken.code in REFUSED_BODY:
        which = "the message" if count == 1 else f"one of {count} messages"
        raise Rejected(TOO_BIG, f"{which} is over nsqd's --max-msg-size ({broken.detail})") from broken
    if broken.code == "E_BAD_TOPIC":
        raise Rejected("topic_invalid", "nsqd refuses the topic's name") from broken

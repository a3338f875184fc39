"""One subscription on one nsqd, through all its connections."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

import structlog
from nsq import constants
from nsq.response import Error
from nsq.response import Message as NsqMessage

from worker.broker.config import FIRST_RECONNECT, ConnectionConfig
from worker.broker.connection import NsqConnection
from worker.broker.handshake import Route
from worker.broker.protocol import Broken, error_code, error_words
from worker.domain.backoff import backoff
from worker.domain.messages import Message, published_at
from worker.domain.shares import Rotation, spread

HARMLESS = frozenset({"E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"})
"""The message timed out meanwhile and will come again, or another consumer has it: no error of ours."""


class Subscription:
    """Holds the connection while there is one, else says when to try again (`retry_at`, by the reader's clock).

    `drained`: nsqd answered CLS, nothing more comes. `ending`: we have hung up, and wait for nsqd to do so.
    `lost_at`: when it was connected last, while it is not. `trouble`: why it is not. `peer`: whom it was connected to
    last, or is to be.
    """

    def __init__(self, route: Route, config: ConnectionConfig, maximum: float, rng: random.Random) -> None:
        self.route = route
        self.connection: NsqConnection | None = None
        self.dialing = False
        self.retry_at = 0.0
        self.lost_at: float | None = None
        self.trouble = ""
        self.peer: tuple[str, int] = (route.address.host, route.address.port)
        self.ready = 0
        self.drained = False
        self.ending = False
        self._config = config
        self._maximum = maximum
        self._rng = rng
        self._attempts = 0
        self._since = 0.0
        self._last_reason = ""
        self._ambiguous = False
        self._log = structlog.get_logger().bind(address=str(route.address), topic=route.topic)

    def attach(self, connection: NsqConnection, now: float) -> None:
        self.connection, self.dialing, self._since, self.ready = connection, False, now, 0
        self._last_reason, self.lost_at, self.peer = "", None, connection.peer
        self.trouble = ""
        self._log.info("nsqd.connected")
        if connection.addresses > 1 and not self._ambiguous:
            self._log.warning("nsqd.name_shared", addresses=connection.addresses)
        self._ambiguous = connection.addresses > 1

    def refused(self, broken: Broken, now: float) -> None:
        """An attempt failed: said once for each reason, tried again after a growing delay."""
        self.dialing = False
        if str(broken) != self._last_reason:
            self._log.warning("nsqd.refused", reason=broken.reason, detail=broken.detail)
        self._last_reason = self.trouble = str(broken)
        self._postpone(now)

    def drop(self, broken: Broken, now: float) -> None:
        """Close the connection; nsqd gives what was in flight to somebody once msg_timeout is over."""
        assert self.connection is not None
        if not self.ending:
            self._log.warning("nsqd.disconnected", reason=broken.reason, detail=broken.detail)
        self.connection.close()
        self.connection, self.ready, self.lost_at, self.trouble = None, 0, now, str(broken)
        if now - self._since > self._maximum:  # it was good for a while: the next failure is a new story
            self._attempts = 0
        self._postpone(now)

    def _postpone(self, now: float) -> None:
        self._attempts += 1
        self.retry_at = now + backoff(self._attempts, FIRST_RECONNECT, self._maximum, self._rng)

    def receive(self) -> Iterator[Message]:
        """The messages that have arrived. Answers heartbeats; Broken for an error that is not harmless."""
        assert self.connection is not None
        connection, topic, now = self.connection, self.route.topic, self._config.clock()
        for response in connection.receive():
            if isinstance(response, NsqMessage):
                connection.arrived(response.id, now)
                body, sent_at = self._cut(response.body), published_at(response.timestamp)
                yield Message(topic, body, response.id, response.attempts, sent_at, connection)
            elif isinstance(response, Error):
                self._judge(response)
            elif response.data == constants.HEARTBEAT:
                connection.nop()
            elif response.data == b"CLOSE_WAIT":
                self.drained = True
        if connection.fault is not None:
            raise connection.fault

    def _cut(self, body: bytes) -> bytes:
        """At most max_message_bytes of it: its reader quarantines what is left.

        Refusing the frame would cost the connection, with all that is in flight on it, at each of its deliveries.
        """
        if len(body) <= self._config.max_message:
            return body
        self._log.warning("nsqd.message_cut", size=len(body), limit=self._config.max_message)
        return body[: self._config.max_message]

    def _judge(self, response: Error) -> None:
        code = error_code(response)
        if code not in HARMLESS:
            raise Broken("refused", error_words(response))
        self._log.debug("nsqd.finish_failed", code=code)

    def forget_timed_out(self) -> None:
        """What nsqd has taken back by itself is no longer in flight here."""
        assert self.connection is not None
        self.connection.forget_arrived_before(self._config.clock() - self._config.msg_timeout)

    def check_silence(self) -> None:
        """Broken when nothing came for two heartbeats: a half-open connection looks alive for ever."""
        assert self.connection is not None
        silence = self._config.silence
        if silence is not None and self._config.clock() - self.connection.last_received > silence:
            raise Broken("silent", f"nothing received for {silence:g} s")

    def end_when_drained(self) -> None:
        """Say goodbye once nsqd has said that nothing more comes (CLOSE_WAIT) and has all our answers."""
        if self.connection is not None and self.drained and not self.ending and not self.connection.unsent:
            self.ending = True
            self.connection.half_close()

    def set_ready(self, count: int) -> None:
        if self.connection is not None and count != self.ready:
            self.connection.rdy(count)
            self.ready = count


TURN = 0.25
"""Seconds that a connection keeps its turn when there are more connections than max_in_flight."""


class Flow:
    """Weights are by topic; the subscriptions of one topic share its weight evenly."""

    def __init__(self, max_in_flight: int, weights: Mapping[str, int], clock: Callable[[], float]) -> None:
        self.paused = False
        self.next_turn = float("inf")
        self._total = max_in_flight
        self._weights = dict(weights)
        self._clock = clock
        self._rotation: Rotation[Subscription] = Rotation()
        self._turn: list[Subscription] = []
        self._seen: tuple[bool, tuple[NsqConnection | None, ...]] | None = None

    def update(self, subscriptions: Collection[Subscription]) -> None:
        """Queue a RDY where a share has changed. `subscriptions` are those that are connected."""
        seen = (self.paused, tuple(subscription.connection for subscription in subscriptions))
        rotating = not self.paused and len(subscriptions) > self._total
        if seen == self._seen and not rotating:
            return
        self._seen = seen
        if not rotating:
            self.next_turn = float("inf")  # nobody's turn is to end: a time that has passed would keep the loop awake
        shares = {} if self.paused or not subscriptions else self._shares(subscriptions)
        for subscription in sorted(
            subscriptions, key=lambda subscription: shares.get(subscription, 0) > subscription.ready
        ):  # take away before giving
            subscription.set_ready(shares.get(subscription, 0))

    def _shares(self, subscriptions: Collection[Subscription]) -> dict[Subscription, int]:
        per_topic = Counter(subscription.route.topic for subscription in subscriptions)
        weights = {
            subscription: self._weights[subscription.route.topic] / per_topic[subscription.route.topic]
            for subscription in subscriptions
        }
        if len(subscriptions) > self._total:
            return self._take_turns(weights)
        return spread(self._total, weights, {subscription: _cap(subscription) for subscription in subscriptions})

    def _take_turns(self, weights: Mapping[Subscription, float]) -> dict[Subscription, int]:
        """RDY 1 for those whose turn it is, as far as the others have nothing in flight any more."""
        now = self._clock()
        if (
            now >= self.next_turn
            or self.next_turn == float("inf")
            or not all(subscription in weights for subscription in self._turn)
        ):
            self._turn = self._rotation.turn(self._total, weights)
            self.next_turn = now + TURN
        busy = sum(
            subscription.connection.in_flight
            for subscription in weights
            if subscription.connection and subscription not in self._turn
        )
        return dict.fromkeys(self._turn[: max(0, self._total - busy)], 1)


def _cap(subscription: Subscription) -> int:
    assert subscription.connection is not None
    return subscription.connection.max_rdy_count

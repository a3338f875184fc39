"""Events on their way to NSQ, as long as the channel is not deep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.broker.admin import ChannelDepths
from worker.broker.publisher import Publisher
from worker.domain.event import Event
from worker.errors import Rejected
from worker.events.envelope import Envelopes
from worker.settings.sections import NsqSettings

DEEP = 1000
"""Messages in the channel from which on nothing is added: what waits there is no better off for being there twice, and
Stripe keeps an event as well as nsqd does."""


class Outlet:
    """Publishes signed envelopes on the events' topic. One thread's."""

    def __init__(self, nsq: NsqSettings, publisher: Publisher, envelopes: Envelopes) -> None:
        self._topic = nsq.events_topic
        self._publisher = publisher
        self._envelopes = envelopes
        self._channels = ChannelDepths(nsq, [self._topic])

    def depth(self) -> int | None:
        """Messages that wait in the channel, at all nsqds that tell; None: none tells."""
        return self._channels.look().messages.get(self._topic)

    def publish(self, events: Sequence[Event], remaining: Callable[[], float]) -> list[tuple[Event, Rejected]]:
        """Returns after nsqd's OK, with those that nsqd takes from nobody. `remaining`: seconds that are left for it.

        Raises `Unavailable`: then any of them may have been published.
        """
        try:
            self._publisher.publish(self._topic, [self._envelopes.seal(event) for event in events], remaining())
        except Rejected as refusal:
            if len(events) == 1:
                return [(events[0], refusal)]
            half = len(events) // 2
            return [*self.publish(events[:half], remaining), *self.publish(events[half:], remaining)]
        return []

    def close(self) -> None:
        self._publisher.close()

"""Events on their way to NSQ, as long as the channel is not deep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.broker.admin import ChannelDepths
from worker.broker.publisher import TOO_BIG, Publisher
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
        """Returns after nsqd's OK, with those that are too big for it. `remaining`: seconds that are left for it.

        Of a batch that is refused for its size the smallest event goes alone; then the rest is halved until each that
        is too big is found. Where nsqd doesn't even take the smallest, its limit is at fault, and no event.

        Raises `Rejected`: nsqd takes none of them; `Unavailable`: any of them may have been published.
        """
        sealed = [(event, self._envelopes.seal(event)) for event in events]
        refused: list[tuple[Event, Rejected]] = []
        parts, is_any_taken = [sealed], False
        while parts:
            part = parts.pop()
            try:
                self._publisher.publish(self._topic, [body for _, body in part], remaining())
            except Rejected as refusal:
                if refusal.reason != TOO_BIG or (len(part) == 1 and not is_any_taken):
                    raise
                if len(part) == 1:
                    refused.append((part[0][0], refusal))
                elif part is sealed:
                    smallest = min(sealed, key=lambda each: len(each[1]))
                    parts = [[each for each in sealed if each is not smallest], [smallest]]
                else:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
            else:
                is_any_taken = True
        return refused

    def close(self) -> None:
        self._publisher.close()

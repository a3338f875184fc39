"""Events that are not as Stripe's are, or that nsqd takes from nobody: they hold nobody up."""

from __future__ import annotations

from collections.abc import Sequence

from worker.errors import Rejected
from worker.events.leadership import Leadership
from worker.events.listing import Found
from worker.events.voice import Voice

MOST_NAMELESS = 1000


class Refusals:
    """Each is told once: those that say what they are count as processed from then on, with that as their outcome."""

    def __init__(self, leadership: Leadership, voice: Voice) -> None:
        self._lead = leadership
        self._voice = voice
        self._nameless: set[str] = set()

    def refuse(self, refused: Sequence[tuple[Found, Rejected]]) -> None:
        for event, refusal in refused:
            if self._is_new(event):
                self._voice.refused(event.id, event.type, refusal)

    def _is_new(self, event: Found) -> bool:
        if event.id is None or event.created is None:
            return self._is_new_and_nameless(f"{event!r}")
        with self._lead.write() as row:
            if not row.days().hold(event.created):
                return self._is_new_and_nameless(event.id)
            return row.refuse(event.id, event.created, event.type)

    def _is_new_and_nameless(self, said: str) -> bool:
        if said in self._nameless:
            return False
        if len(self._nameless) >= MOST_NAMELESS:
            self._nameless.clear()
        self._nameless.add(said)
        return True

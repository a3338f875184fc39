"""A batch of messages, sorted out: each event once, and what is none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.domain.messages import Message
from worker.errors import Rejected
from worker.events.envelope import Envelopes, Signed, UnknownKey
from worker.events.snapshots import PlanOf, Said, read

MOST_WAITS_FOR_A_KEY = 33
"""So often an envelope is delivered whose key this process doesn't have, before it is set aside: some half an hour, in
which each process is to follow a rotation."""


class Heard:
    """`events` by id, and by which message each came first (`firsts`); `refused` can never be read, and the keys of
    `keyless` may yet come."""

    def __init__(self, batch: Sequence[Message], envelopes: Envelopes, plan_of: PlanOf) -> None:
        self.events: dict[str, Signed] = {}
        self.firsts: dict[str, Message] = {}
        self.refused: list[tuple[Message, Rejected]] = []
        self.keyless: list[Message] = []
        self._envelopes = envelopes
        self._plan_of = plan_of
        self._said: dict[str, Said] = {}
        for message in batch:
            try:
                signed = envelopes.verify(message.body)
            except Rejected as refusal:
                self._refuse(message, refusal)
                continue
            if signed.id not in self.events:
                self.events[signed.id] = signed
                self.firsts[signed.id] = message

    @property
    def created(self) -> dict[str, int]:
        """When each was created (Unix time), by its id."""
        return {each.id: each.created for each in self.events.values()}

    def attempts(self, event_id: str) -> int:
        """How often its message has been delivered."""
        return self.firsts[event_id].attempts

    def read(self, known: Collection[str] = ()) -> list[Said]:
        """What the events say, but for those that are `known`, which need not be parsed."""
        for signed in list(self.events.values()):
            if signed.id not in known and signed.id not in self._said:
                self._read(signed)
        return [each for each in self._said.values() if each.event.id not in known]

    def _read(self, signed: Signed) -> None:
        try:
            self._said[signed.id] = read(self._envelopes.parse(signed), self._plan_of)
        except Rejected as refusal:
            del self.events[signed.id]
            self._refuse(self.firsts[signed.id], refusal)

    def _refuse(self, message: Message, refusal: Rejected) -> None:
        if isinstance(refusal, UnknownKey) and message.attempts < MOST_WAITS_FOR_A_KEY:
            self.keyless.append(message)
        else:
            self.refused.append((message, refusal))

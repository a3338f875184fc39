"""The demo's profiles, and their messages: one each, or what a bad day makes of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PUBLISH_MOST, EDITED = 3, 0.2
"""Chaos: each message is published up to so many times; so large a share of the profiles is also published edited."""

REORDER_WITHIN = 20
"""Chaos: a message is published up to so many places late."""


@dataclass(frozen=True, slots=True)
class Published:
    """When (UTC) a profile was created, and first handed to nsqd."""

    created_at: datetime
    published_at: datetime


class Traffic:
    """`count` profiles at `pace` a second. `sent` is filled as they are published."""

    def __init__(self, count: int, pace: float, *, chaos: bool, rng: random.Random) -> None:
        self.users = [f"user-{number:06}" for number in range(1, count + 1)]
        self.sent: dict[str, Published] = {}
        self._pace = pace
        self._chaos = chaos
        self._rng = rng

    def publish(self, send: Callable[[bytes], None], wait: Callable[[float], None]) -> None:
        """Publishes everything; `wait` is given the seconds to the next message."""
        started = datetime.now(UTC)
        for place, (user, edited) in enumerate(self._messages()):
            due = started + timedelta(seconds=place / self._pace)
            wait(max(0.0, (due - datetime.now(UTC)).total_seconds()))
            self._send(user, send, edited=edited)

    def _send(self, user: str, send: Callable[[bytes], None], *, edited: bool) -> None:
        now = datetime.now(UTC)
        first = self.sent.setdefault(user, Published(now, now))
        name = f"{user} (edited)" if edited else user
        profile = {
            "id": user,
            "email": f"{name.replace(' ', '.').translate(_NO_BRACKETS)}@example.com",
            "name": name,
            "created_at": first.created_at.isoformat(),
        }
        send(json.dumps(profile).encode())

    def _messages(self) -> Iterator[tuple[str, bool]]:
        """(user, edited) in the order of publication."""
        if not self._chaos:
            yield from ((user, False) for user in self.users)
            return
        copies: list[tuple[float, str, bool]] = []
        for place, user in enumerate(self.users):
            kinds = [False] * self._rng.randint(1, PUBLISH_MOST) + [True] * (self._rng.random() < EDITED)
            copies += [(place + self._rng.uniform(0, REORDER_WITHIN), user, edited) for edited in kinds]
        yield from ((user, edited) for _, user, edited in sorted(copies))


_NO_BRACKETS = str.maketrans("", "", "()")

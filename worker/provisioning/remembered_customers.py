"""The customers of ours that walks have seen, the newest, by whose they are and by age."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from worker.domain.stripe_facts import CustomerFact

MOST_REMEMBERED = 100_000
"""About 40 MB. What is older is read again by the rows that need it."""

EVER = datetime.min.replace(tzinfo=UTC)
NOTHING_YET = datetime.max.replace(tzinfo=UTC)

_WITNESS_AGES = [timedelta(seconds=each) for each in (0, 60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400)]


class RememberedCustomers:
    """Every customer created after `floor` that carries a digest of ours. Its owner locks it."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._by_digest: dict[str, CustomerFact] = {}
        self._by_age: list[CustomerFact] = []  # the oldest first
        self.floor = NOTHING_YET

    @property
    def is_full(self) -> bool:
        return len(self._by_age) >= self._most

    def get(self, digest: str) -> CustomerFact | None:
        return self._by_digest.get(digest)

    def forget(self, digest: str) -> None:
        """That customer is gone."""
        self._by_digest.pop(digest, None)

    def witnesses(self, now: datetime) -> list[str]:
        """Digests of up to eight of them, of different ages, the youngest first."""
        places = [bisect_right(self._by_age, now - age, key=_created) for age in _WITNESS_AGES]
        chosen = [self._by_age[place - 1].user_digest for place in places if place]
        return [digest for digest in dict.fromkeys(chosen) if digest is not None]

    def add(self, seen: Sequence[CustomerFact], *, floor: datetime) -> None:
        """Remembers what was seen of the list, the newest first, and that with it everything since `floor` is known."""
        for fact in reversed(seen):
            if fact.user_digest is not None and fact.user_digest not in self._by_digest:
                self._by_digest[fact.user_digest] = fact
                insort(self._by_age, fact, key=_created)
        self.floor = min(self.floor, floor)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        dropped = self._by_age[: max(0, len(self._by_age) - self._most)]
        if dropped:
            del self._by_age[: len(dropped)]
            self.floor = dropped[-1].created
        for fact in dropped:
            self._by_digest.pop(str(fact.user_digest), None)


def _created(fact: CustomerFact) -> datetime:
    return fact.created

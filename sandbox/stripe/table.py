"""One kind of object, by id and in order of creation, with the indexes that lists filter by."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sandbox.stripe.objects import Obj

Place: TypeAlias = tuple[int, int, str]
"""created, arrival, id: lists run through it backwards."""


class Table:
    """Objects of one kind; a deleted one stays retrievable by id and leaves the lists."""

    def __init__(self, indexed: Sequence[str] = ()) -> None:
        self.rows: dict[str, Obj] = {}
        self._order: list[Place] = []
        self._places: dict[str, Place] = {}
        self._indexes: dict[str, dict[Any, set[Place]]] = {field: {} for field in indexed}
        self._arrivals = 0

    def put(self, obj: Obj) -> None:
        """Takes a new object, a new state of a known one, or the remains of a deleted one."""
        identifier = obj["id"]
        known = self.rows.get(identifier)
        if known is not None and identifier in self._places:
            self._unindex(known, self._places[identifier])
        self.rows[identifier] = obj
        if obj.get("deleted"):
            self._drop(identifier)
        else:
            self._index(obj, self._places.get(identifier) or self._place(obj))

    def _place(self, obj: Obj) -> Place:
        self._arrivals += 1
        place = (int(obj["created"] if "created" in obj else obj["date"]), self._arrivals, str(obj["id"]))
        self._places[obj["id"]] = place
        insort(self._order, place)
        return place

    def _drop(self, identifier: str) -> None:
        place = self._places.pop(identifier, None)
        if place is not None:
            del self._order[bisect_left(self._order, place)]

    def _index(self, obj: Obj, place: Place) -> None:
        for field, index in self._indexes.items():
            index.setdefault(obj[field], set()).add(place)

    def _unindex(self, obj: Obj, place: Place) -> None:
        for field, index in self._indexes.items():
            places = index[obj[field]]
            places.discard(place)
            if not places:
                del index[obj[field]]

    def live(self, identifier: str) -> Obj | None:
        """The object, unless it never was or is deleted."""
        return self.rows[identifier] if identifier in self._places else None

    def by(self, field: str, value: Any) -> list[Obj]:
        """All objects whose indexed `field` is `value`, oldest first."""
        return [self.rows[place[2]] for place in sorted(self._indexes[field].get(value, ()))]

    def count(self) -> int:
        return len(self._order)

    def all(self) -> list[Obj]:
        """Every object that lists would show, oldest first."""
        return [self.rows[place[2]] for place in self._order]

    def page(
        self,
        limit: int,
        keep: Callable[[Obj], bool],
        *,
        where: Mapping[str, Any],
        created: Mapping[str, int],
        after: str | None = None,
        before: str | None = None,
        among: Iterable[str] | None = None,
    ) -> tuple[list[Obj], bool]:
        """Up to `limit` objects that `keep`, newest first, and whether there are more in the direction asked.

        `where` compares indexed fields; `created` bounds (`gt`, `gte`, `lt`, `lte`); `after`, `before` are cursors;
        `among` are the ids of all that can match, where that is known to be few.
        """
        places = self._candidates(where) if among is None else sorted(self._places[identifier] for identifier in among)
        low, high = _bounds(places, created)
        if after is not None:
            high = min(high, bisect_left(places, self._places[after]))
        if before is not None:
            low = max(low, bisect_left(places, (*self._places[before][:2], "\x7f")))
            found, more = self._take(places, range(low, high), limit, keep)
            return found[::-1], more
        return self._take(places, range(high - 1, low - 1, -1), limit, keep)

    def _candidates(self, where: Mapping[str, Any]) -> list[Place]:
        if not where:
            return self._order
        sets = [self._indexes[field].get(value, set()) for field, value in where.items()]
        return sorted(set.intersection(*sets))

    def _take(
        self, places: list[Place], positions: range, limit: int, keep: Callable[[Obj], bool]
    ) -> tuple[list[Obj], bool]:
        found: list[Obj] = []
        for position in positions:
            obj = self.rows[places[position][2]]
            if keep(obj):
                if len(found) == limit:
                    return found, True
                found.append(obj)
        return found, False


def _bounds(places: list[Place], created: Mapping[str, int]) -> tuple[int, int]:
    """The slice of `places` inside the window."""
    oldest = max(created.get("gte", 0), created.get("gt", -1) + 1)
    newest = min(created.get("lte", 2**62), created.get("lt", 2**62) - 1)
    return bisect_left(places, (oldest,)), bisect_left(places, (newest + 1,))

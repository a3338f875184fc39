"""The API's process, but that it reads each user's subscription of Postgres once alone: the most that the same server
could answer. `python -m bench.api_from_memory` with the arguments of `subkeeper`.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.__main__ import main
from worker.domain.subscription import Subscription
from worker.runtime.api import ApiSide

_read = ApiSide._current  # noqa: SLF001 - all else is as it is
_known: dict[str, list[Subscription]] = {}


def _remembered(self: ApiSide, user_ids: Sequence[str]) -> list[Subscription]:
    if unknown := [each for each in user_ids if each not in _known]:
        found = _read(self, unknown)
        _known.update({each: [row for row in found if row.user_id == each] for each in unknown})
    return [row for each in user_ids for row in _known[each]]


if __name__ == "__main__":
    ApiSide._current = _remembered  # type: ignore[method-assign]  # noqa: SLF001 - as above
    main()

"""How many reads this process has sent, by what for: Stripe grants an account so many a month."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

_PURPOSES = {
    "prices.list": "prices",
    "subscriptions.retrieve": "refreshes",
    "customers.list": "looks",
    "customers.retrieve": "looks",
    "customers.search": "looks",
    "subscriptions.list": "looks",
}
_OTHER = "other"

_POLLS = "events.list"
"""The poller counts its own, each before it is sent."""


class Reads:
    """Counted in memory by any thread, until they are taken to be written down. What a process that is killed had not
    written down yet isn't counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent = Counter[str]()

    def sent(self, operation: str) -> None:
        """One more has been sent, an attempt again too."""
        if operation != _POLLS:
            with self._lock:
                self._sent[_PURPOSES.get(operation, _OTHER)] += 1

    def take(self) -> Mapping[str, int]:
        """Those of each purpose since the last time."""
        with self._lock:
            taken, self._sent = self._sent, Counter()
        return taken

    def put_back(self, taken: Mapping[str, int]) -> None:
        """They could not be written down."""
        with self._lock:
            self._sent.update(taken)

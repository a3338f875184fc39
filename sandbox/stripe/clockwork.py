"""What advances test clocks, a part at each turn: before each request, and in the server's background.

As at Stripe, events leave while the clock still says `advancing`, and its objects can't be changed until it is `ready`.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.stripe.kinds import CLOCK
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.objects import Obj
from sandbox.stripe.passing_time import apply

ADVANCING_SECONDS = 0.2  # at least; so that who doesn't wait for `ready` notices here
_ENTRIES = 50  # a turn (about 10 ms): other requests are answered in between


class Clockwork:
    """`monotonic` is in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since: dict[str, float] = {}

    def turn(self, ledger: Ledger, wall: int) -> bool:
        """A part of what is to be done; whether there is more."""
        for identifier in sorted(ledger.advancing):
            self._advance(ledger, ledger.tables[CLOCK].rows[identifier], wall)
        return bool(ledger.advancing)

    def _advance(self, ledger: Ledger, clock: Obj, wall: int) -> None:
        since = self._since.setdefault(clock["id"], self._monotonic())
        for _ in range(_ENTRIES):
            entry = ledger.agenda.take(clock["id"], clock["frozen_time"])
            if entry is None:
                break
            apply(Transaction(ledger, entry[0], wall, clock=clock["id"], due=entry), entry)
        else:
            return
        if self._monotonic() - since < ADVANCING_SECONDS:
            return
        del self._since[clock["id"]]
        tx = Transaction(ledger, wall, wall)
        ready = tx.put({**clock, "status": "ready", "status_details": {}})
        tx.emit(f"{CLOCK}.ready", ready)
        ledger.commit(tx)

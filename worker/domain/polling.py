"""When Stripe is asked for events next, and how much of the month's reads that may cost. Times are UTC.

Stripe grants an account about 500 reads a transaction, and 10,000 at least, over any 30 days
(https://docs.stripe.com/rate-limits). So every page counts, and polls are as far apart as what is left of the calendar
month lasts; never nearer than a whole month's reads would last either: what was saved in a quiet week and spent within
a day would be too much for the 30 days that begin there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

SHORTEST, LONGEST = timedelta(seconds=5), timedelta(minutes=5)
"""Between two polls, while events flow and while none do, as far as the reads last."""

LONGEST_RETRY = timedelta(minutes=1)
"""Between two polls that fail."""

OVERLAP = timedelta(minutes=1)
"""How far before the cursor a poll begins: lists of events are consistent after seconds only, so that one may appear
behind a younger one that was read."""

KEPT = timedelta(days=30)
"""For how long Stripe lists an event."""

AGAIN = timedelta(minutes=10)
"""After which an event that was published and isn't processed is published again."""

DELIVERY = timedelta(seconds=10)
"""What a webhook that delivers is given for an event before a poll publishes it."""

RESERVE = 0.2
"""The part of the reads that polls leave to refreshes and looks."""

MONTH = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Allotment:
    """The reads of a calendar month: how many there may be (`monthly`), and how many there were by polls and by
    `others` that count theirs."""

    monthly: int
    polls: int = 0
    others: int = 0

    @property
    def most(self) -> int:
        """How many polls may make in the month."""
        return max(0, self.monthly - max(math.ceil(self.monthly * RESERVE), self.others))

    @property
    def spare(self) -> int:
        """How many more may be made by whoever leaves the reserve alone."""
        return max(0, self.monthly - math.ceil(self.monthly * RESERVE) - self.polls - self.others)

    @property
    def left(self) -> int:
        return max(0, self.most - self.polls)

    def spacing(self, now: datetime) -> timedelta:
        """How far a read is to be from the next one, for them to last; to the end of the month where none is left."""
        rest = month_end(now) - now
        return max(rest / self.left, MONTH / self.most) if self.left else rest


def month_end(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Found:
    """What a poll came to. `published`: events that were not processed yet; `delivered`: those that a webhook had
    brought. `steady`: it began where the poll before had ended, so that its `reads` tell what the next one costs."""

    reads: int
    published: int
    delivered: int
    steady: bool = True


@dataclass(frozen=True, slots=True)
class Pace:
    """How polls follow each other. `wait`: by the schedule alone; `cost`: the reads of a poll."""

    wait: timedelta = SHORTEST
    cost: int = 1
    webhooks_deliver: bool = False
    swept: bool = False
    """Whether the last one asked only for what webhooks did not deliver."""

    @property
    def sweeps_next(self) -> bool:
        """Whether the next poll is to be one of these: every other one, while webhooks deliver."""
        return self.webhooks_deliver and not self.swept

    def after(self, found: Found) -> Pace:
        """The pace after a poll (or a sweep, where that was next) that came to its end."""
        flows = found.published > 0
        wait = SHORTEST if flows else min(LONGEST, 2 * self.wait)
        if self.sweeps_next:
            return replace(self, wait=wait, webhooks_deliver=not flows, swept=True)
        cost = max(1, found.reads) if found.steady else self.cost
        return Pace(wait, cost, webhooks_deliver=not flows and found.delivered > 0)

    def failed(self) -> Pace:
        """The pace after a poll that broke off."""
        return replace(self, wait=min(LONGEST_RETRY, 2 * self.wait))

    def interval(self, allotment: Allotment, now: datetime) -> timedelta:
        """From the beginning of a poll to that of the next. Another month has reads of its own."""
        return max(self.wait, min(self.cost * allotment.spacing(now), month_end(now) - now))

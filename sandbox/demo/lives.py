"""What becomes of people once they have signed up: some pay, some can't, some leave; and when that shows."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias


class Act(Enum):
    """What somebody does at Stripe. With a card comes the paid plan."""

    GOOD_CARD = auto()
    BAD_CARD = auto()
    """It is taken, and declined when it is charged."""
    CANCEL = auto()
    """At the end of the period."""
    LEAVE = auto()
    """At once."""
    RESUME = auto()
    """What was paused for want of a card goes on."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A day after everybody signed up, at which one looks; what people do then comes last."""

    day: int
    title: str


MOMENTS = (
    Moment(10, "cards are added, some leave"),
    Moment(29, "trials are about to end"),
    Moment(32, "trials end: paid or not"),
    Moment(36, "new cards, some come back"),
    Moment(41, "payments are tried again"),
    Moment(48, "and for the last time"),
    Moment(64, "a month more: renewals"),
)
"""A trial is 31 days; what failed on day 31 is tried again 3, 5 and 7 days after the attempt before."""

Life: TypeAlias = Mapping[int, Sequence[Act]]

LIVES: Sequence[tuple[int, Life]] = (
    (7, {10: [Act.GOOD_CARD]}),
    (3, {10: [Act.BAD_CARD], 36: [Act.GOOD_CARD]}),
    (2, {10: [Act.BAD_CARD]}),
    (2, {10: [Act.GOOD_CARD, Act.CANCEL]}),
    (1, {10: [Act.GOOD_CARD], 36: [Act.CANCEL]}),
    (1, {10: [Act.LEAVE]}),
    (2, {36: [Act.GOOD_CARD, Act.RESUME]}),
    (2, {}),
)
"""How many of twenty lead each life: by day, what they do."""


def drawn(users: Sequence[str], rng: random.Random) -> dict[str, Life]:
    """A life for each, in these shares."""
    deck: list[Life] = []
    lives: dict[str, Life] = {}
    for user in users:
        if not deck:
            deck = [life for count, life in LIVES for _ in range(count)]
            rng.shuffle(deck)
        lives[user] = deck.pop()
    return lives

"""Whatever order events and answers about a customer come in, its default payment method ends as Stripe has it, and
never goes back: many random schedules, with servers whose clocks differ by a second, as in
`tests/unit/events/test_never_back_in_time.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from worker.domain import default_card
from worker.domain.default_card import NOTHING, UNSURE_FOR, DefaultCard, answered, doubted, heard, wait_for
from worker.domain.subscription import Verdict

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULES = 1500
LEAPS = (0.0, 0.01, 0.4, 1.1, 2.5, 4.0)
CARDS = (None, "pm_1", "pm_2")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


MADE = DefaultCard(None, at(-1), at(1))
"""Of our own signup, by the answer to it."""


@dataclass
class Fetch:
    """Under way: when it was sent, what took effect, and what the answer says of its time."""

    sent: float
    card: str | None = None
    number: int = 0
    has_effect: bool = False
    seen: tuple[datetime, datetime] | None = None


@dataclass
class World:
    """Stripe, what is known of one customer, and what is on its way. `clears` is a rule that is broken: a mark is gone
    once there was any answer."""

    rng: random.Random
    clears: bool = False
    now: float = 0.0
    card: str | None = None
    number: int = 0
    made: list[tuple[datetime, str | None, int]] = field(default_factory=list)
    processed: set[int] = field(default_factory=set)
    known: DefaultCard = MADE
    known_number: int = 0
    went_back: bool = False
    due: float | None = None
    fetch: Fetch | None = None
    reads: int = 0

    def change(self) -> None:
        self.card = self.rng.choice([each for each in CARDS if each != self.card])
        self.number += 1
        self.made.append((at(int(self.now + self.rng.uniform(-1, 1))), self.card, self.number))

    def leap(self) -> None:
        self.now += self.rng.choice(LEAPS)

    def deliver_any(self) -> None:
        if self.made:
            self.deliver(self.rng.choice(self.made))

    def deliver(self, event: tuple[datetime, str | None, int]) -> None:
        created, card, number = event
        if number in self.processed:
            return
        self.processed.add(number)
        verdict, known = heard(self.known, card, created)
        self._take(known, number if verdict in {Verdict.APPLIED, Verdict.CONFIRMED} else None)
        if verdict is Verdict.REFRESHING:
            due = self.now + UNSURE_FOR.total_seconds()
            self.due = due if self.due is None else min(due, self.due)

    def go_on_fetching(self) -> None:
        """The next of: sent, takes effect, is answered, is written."""
        if self.fetch is None:
            if self.due is not None and self.due <= self.now:
                self.fetch, self.reads = Fetch(self.now), self.reads + 1
        elif not self.fetch.has_effect:
            self.fetch.card, self.fetch.number, self.fetch.has_effect = self.card, self.number, True
        elif self.fetch.seen is None:
            date = int(self.now + self.rng.uniform(-1, 1))
            self.fetch.seen = at(date - (self.now - self.fetch.sent) - 1), at(date + 1)
        else:
            self._write(self.fetch, self.fetch.seen)
            self.fetch = None

    def _write(self, fetch: Fetch, seen: tuple[datetime, datetime]) -> None:
        verdict, known = answered(self.known, fetch.card, seen)
        self._take(known, fetch.number if verdict in {Verdict.APPLIED, Verdict.CONFIRMED} else None)
        in_doubt = verdict is Verdict.REFRESHING and not self.clears
        self.due = self.now + wait_for(self.known, seen[0]).total_seconds() if in_doubt else None

    def _take(self, known: DefaultCard, number: int | None) -> None:
        if number is not None:
            self.went_back |= number < self.known_number and known.payment_method != self.known.payment_method
            self.known_number = max(number, self.known_number)
        self.known = known

    def come_to_rest(self) -> None:
        for event in self.rng.sample(self.made, len(self.made)):
            self.deliver(event)
        for _ in range(1000):
            if self.due is None and self.fetch is None:
                return
            self.leap()
            self.go_on_fetching()

    def is_right(self) -> bool:
        return self.known.payment_method == self.card and self.known.seen_from is not None and not self.went_back


def live(world: World, steps: int = 40) -> bool:
    acts: list[Callable[[], None]] = [
        world.change, world.deliver_any, world.deliver_any, world.go_on_fetching, world.go_on_fetching, world.leap,
    ]  # fmt: skip
    for _ in range(steps):
        world.rng.choice(acts)()
    world.come_to_rest()
    return world.is_right()


def diverged(rng: random.Random, *, clears: bool = False) -> int:
    worlds = [World(random.Random(rng.getrandbits(32)), clears) for _ in range(SCHEDULES)]
    return sum(not live(world) for world in worlds)


def test_no_schedule_takes_a_default_back_in_time(rng: random.Random) -> None:
    assert diverged(rng) == 0


def test_it_would_be_noticed_if_any_answer_ended_the_doubt() -> None:
    assert diverged(random.Random(1), clears=True) > 0


def test_it_would_be_noticed_if_there_were_no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_card, "SLACK", timedelta())
    assert diverged(random.Random(1)) > 0


def test_all_orders_of_any_five_changes_end_alike(rng: random.Random) -> None:
    for _ in range(20):
        story = World(rng)
        for _ in range(5):
            story.now += rng.choice((1.5, 3.0, 20.0))
            story.change()
        for order in permutations(story.made):
            world = World(random.Random(0), now=100.0, card=story.card, number=5, made=list(story.made))
            for event in order:
                world.deliver(event)
            world.come_to_rest()
            assert world.is_right()


def test_our_own_signups_event_is_confirmed_and_moves_nothing() -> None:
    made = DefaultCard(None, at(-1.2), at(1))
    assert heard(made, None, at(0)) == (Verdict.CONFIRMED, made)


def test_a_later_event_needs_no_answer_to_be_sure() -> None:
    first = heard(DefaultCard(None, at(-1), at(1)), "pm_1", at(10))
    assert first == (Verdict.APPLIED, DefaultCard("pm_1", at(10), at(10)))
    assert heard(first[1], None, at(5)) == (Verdict.STALE, first[1])


def test_of_what_nothing_was_heard_an_event_is_asked_about_and_any_answer_counts() -> None:
    """The event may be an old one, and later ones have been passed by a release that kept none."""
    verdict, known = heard(NOTHING, "pm_1", at(0))
    assert (verdict, known) == (Verdict.REFRESHING, DefaultCard(None, None, at(0)))
    assert answered(NOTHING, "pm_1", (at(0), at(2))) == (Verdict.APPLIED, DefaultCard("pm_1", at(0), at(2)))


def test_while_it_is_in_doubt_an_answer_counts_once_it_is_later_than_all_that_was_heard() -> None:
    known = doubted(DefaultCard("pm_1", at(0), at(0)), at(10))
    assert doubted(known, at(5)).seen_to == at(10)
    verdict, same = answered(known, "pm_1", (at(11), at(13)))
    assert (verdict, same) == (Verdict.REFRESHING, known)
    assert wait_for(known, at(11)) == timedelta(seconds=2)
    assert answered(known, "pm_2", (at(13), at(15))) == (Verdict.APPLIED, DefaultCard("pm_2", at(13), at(15)))

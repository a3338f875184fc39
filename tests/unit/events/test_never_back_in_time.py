"""Whatever order events and fetches come in, a row ends as Stripe has it: many random schedules of a small world.

The rules are the code's (`worker.events.absorption.decide`, `worker.domain.subscription`); the world around them is as
unkind as it may be: events are delivered in any order, repeatedly, late, in the same second and by servers whose clocks
differ by a second; a fetch takes effect somewhere between its sending and its answer, and is written later still; and
so is what users and admins ask of us, one at a time, whose answer is a fetch that has changed what it tells.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import cast

import pytest
from msgspec.structs import replace

from worker.domain import subscription
from worker.domain.event import Event
from worker.domain.subscription import Change, State, Subscription, Verdict, fetched, judge
from worker.events import absorption
from worker.events.absorption import decide
from worker.events.customer_news import CustomerNews
from worker.events.snapshots import Said
from worker.events.surroundings import Surroundings
from worker.store.engine.database import Transaction

START = datetime(2026, 1, 1, tzinfo=UTC)
SUBSCRIPTION = "sub_1"
SCHEDULES = 1500
LEAPS = (0.0, 0.01, 0.4, 1.1, 2.5, 4.0)
STATES: tuple[State, ...] = tuple(
    {"plan": plan, "stripe_subscription_status": status, "canceling": canceling, "trial_end": None}
    for plan, status, canceling in [
        ("pending", "trialing", False),
        ("pending", "trialing", True),
        ("pro", "active", False),
        ("pro", "past_due", False),
    ]
)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Fetch:
    """Under way: what was read before it was sent, and how far it has come."""

    wanted: int
    confirmed: int
    marked_at: int
    version: int
    sent: float
    state: State | None = None
    number: int = 0
    seen: tuple[datetime, datetime] | None = None


@dataclass
class World:
    """Stripe, one row, and what is on its way between the two. The first four after `rng` say what is to go wrong."""

    rng: random.Random
    clear_regardless: bool = False
    one_date: bool = False
    write_regardless: bool = False
    answer_regardless: bool = False
    now: float = 0.0
    state: State = field(default_factory=lambda: STATES[0])
    number: int = 0
    known: int = 0
    went_back: bool = False
    made: list[Event] = field(default_factory=list)
    processed: set[str] = field(default_factory=set)
    wanted: int = 0
    confirmed: int = 0
    marked_at: int = 0
    fetch: Fetch | None = None
    asked: Fetch | None = None
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._state_known = self.state
        self.row = Subscription(SUBSCRIPTION, "ada", self.state, at(-1), at(1), version=1)

    # At Stripe

    def change(self) -> None:
        """One of Stripe's servers does it, and dates the event by its own clock."""
        self.state = self.rng.choice([each for each in STATES if each != self.state])
        created = at(int(self.now + self.rng.uniform(-1, 1)))
        self.number += 1
        content = {"id": SUBSCRIPTION, "state": self.state, "number": self.number}
        kind = "customer.subscription.updated"
        self.made.append(Event(f"evt_{len(self.made)}", kind, created, "ours", False, "webhook", content, {}))

    def leap(self) -> None:
        self.now += self.rng.choice(LEAPS)

    # Here

    def deliver(self, event: Event) -> None:
        if event.id in self.processed:
            return
        said = Said(event, SUBSCRIPTION, "cus_1", None, None, state=event.object["state"])
        decided = decide([said], {SUBSCRIPTION: self.row}, NOBODY, lambda _: 1)
        self.row = decided.rows[SUBSCRIPTION]
        if decided.outcomes[event.id] in {Verdict.APPLIED, Verdict.CONFIRMED}:
            self._heard_of(event.object["number"])
        self.changes += decided.changes
        if decided.marked:
            self._mark()
        elif decided.confirmed and self.wanted:
            self.wanted += 1
        self.confirmed += bool(decided.confirmed and self.wanted)
        self.processed.add(event.id)

    def _mark(self) -> None:
        if not self.wanted:
            self.confirmed, self.marked_at = 0, self.marked_at + 1
        self.wanted += 1

    def _under_way(self) -> Fetch:
        return Fetch(self.wanted, self.confirmed, self.marked_at, self.row.version, self.now)

    def deliver_any(self) -> None:
        if self.made:
            self.deliver(self.rng.choice(self.made))

    def go_on_fetching(self) -> None:
        """The next of: sent, takes effect, is answered, is written."""
        if self.fetch is None:
            if self.wanted:
                self.fetch = self._under_way()
        elif self.fetch.state is None:
            self.fetch.state, self.fetch.number = self.state, self.number
        elif self.fetch.seen is None:
            self.fetch.seen = self._seen(self.fetch)
        else:
            self._take_fetched(self.fetch)
            self.fetch = None

    def go_on_asking(self) -> None:
        """The same of a change that somebody asks of us: its mark is what is left of it if we die."""
        if self.asked is None:
            if not self.wanted:
                self._mark()
            self.asked = self._under_way()
        elif self.asked.state is None:
            self.change()
            self.asked.state, self.asked.number = self.state, self.number
        elif self.asked.seen is None:
            self.asked.seen = self._seen(self.asked)
        else:
            self._take_answer(self.asked)
            self.asked = None

    def _seen(self, fetch: Fetch) -> tuple[datetime, datetime]:
        date = int(self.now)
        elapsed = self.now - fetch.sent
        bounds = (date, date) if self.one_date else (date - elapsed - 1, date + 1)
        return at(bounds[0]), at(bounds[1])

    def _take_fetched(self, fetch: Fetch) -> None:
        """As `worker.store.refreshes` and `worker.events.refresher` have it."""
        if fetch.version != self.row.version or (fetch.confirmed != self.confirmed and not self.write_regardless):
            return  # the mark stays
        self._write(fetch)
        if self.clear_regardless or fetch.wanted == self.wanted:
            self.wanted = 0
        else:
            self.marked_at += 1

    def _take_answer(self, asked: Fetch) -> None:
        """As `worker.store.answers` and `worker.accounts.leases` have it."""
        heard = not self.wanted or (asked.confirmed, asked.marked_at) != (self.confirmed, self.marked_at)
        if (asked.version != self.row.version or heard) and not self.answer_regardless:
            self._mark()
            return
        if self.wanted == asked.wanted and self.fetch is None:
            self.wanted = 0
        else:
            self.confirmed += 1
        self._write(asked)

    def _write(self, fetch: Fetch) -> None:
        assert fetch.state is not None
        assert fetch.seen is not None
        self.row, change = fetched(self.row, fetch.state, None, fetch.seen, "refresh", customer_default=None)
        self.changes += [change] if change is not None else []
        self._heard_of(fetch.number)

    def _heard_of(self, number: int) -> None:
        """The row says now what was true at Stripe after so many changes, the same as before or later."""
        self.went_back |= number < self.known and self.row.state != self._state_known
        self.known = max(number, self.known)
        self._state_known = self.row.state

    def come_to_rest(self) -> None:
        """All that was asked for is done, and all that Stripe has told arrives, by polling at the latest; then nothing
        is marked any more."""
        while self.asked is not None:
            self.leap()
            self.go_on_asking()
        for event in self.rng.sample(self.made, len(self.made)):
            self.deliver(event)
        while self.wanted or self.fetch is not None:
            self.leap()
            self.go_on_fetching()

    def is_right(self) -> bool:
        """The row is as Stripe has it, and never went back on its way; every change was told, once and in order."""
        versions = [change.version for change in self.changes]
        told = self.changes[-1].after if self.changes else self.row.columns()
        return (
            self.row.state == self.state
            and not self.went_back
            and versions == list(range(2, self.row.version + 1))
            and told == self.row.columns()
        )


NO_TRANSACTION = cast("Transaction", None)


class _Nobody(Surroundings):
    """The row is always there: nobody is asked whose it is."""

    def __init__(self) -> None:
        self.news = CustomerNews(NO_TRANSACTION, [], START)


NOBODY = _Nobody()


def live(world: World, steps: int) -> bool:
    acts: list[Callable[[], None]] = [
        world.change, world.deliver_any, world.deliver_any, world.go_on_fetching, world.go_on_fetching,
        world.go_on_asking, world.leap,
    ]  # fmt: skip
    for _ in range(steps):
        world.rng.choice(acts)()
    world.come_to_rest()
    return world.is_right()


def diverged(
    rng: random.Random,
    *,
    clear_regardless: bool = False,
    one_date: bool = False,
    write_regardless: bool = False,
    answer_regardless: bool = False,
    schedules: int = SCHEDULES,
) -> int:
    """How many schedules end with a row that is wrong. Where the rules are broken, always the same ones are played: it
    is the test that is tested."""
    wrong = clear_regardless, one_date, write_regardless, answer_regardless
    worlds = [World(random.Random(rng.getrandbits(32)), *wrong) for _ in range(schedules)]
    return sum(not live(world, 40) for world in worlds)


def test_no_schedule_takes_a_row_back_in_time(rng: random.Random) -> None:
    assert diverged(rng) == 0


def test_it_would_be_noticed_if_a_mark_were_cleared_that_is_wanted_anew() -> None:
    assert diverged(random.Random(1), clear_regardless=True) > 0


def test_it_would_be_noticed_if_an_answer_were_as_old_as_its_date() -> None:
    assert diverged(random.Random(1), one_date=True, schedules=4 * SCHEDULES) > 0, "which happens seldom"


def test_it_would_be_noticed_if_what_is_confirmed_were_overwritten_by_an_older_answer() -> None:
    """The row says the same as an event: nothing is written, and yet more is known than when the fetch was sent."""
    assert diverged(random.Random(1), write_regardless=True) > 0


def test_it_would_be_noticed_if_the_answer_to_a_change_were_written_whatever_was_heard_meanwhile() -> None:
    assert diverged(random.Random(1), answer_regardless=True) > 0


def test_it_would_be_noticed_if_there_were_no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "SLACK", timedelta())
    assert diverged(random.Random(1)) > 0


def test_it_would_be_noticed_if_a_stale_snapshot_were_taken(
    rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {Verdict.STALE: Verdict.APPLIED}
    monkeypatch.setattr(absorption, "judge", lambda *seen: taken.get(judge(*seen), judge(*seen)))
    assert diverged(random.Random(1)) > 0


def test_all_orders_of_any_five_changes_end_in_one_row(rng: random.Random) -> None:
    for _ in range(20):
        ends = set()
        told = _five_changes(rng)
        for order in permutations(told):
            world = World(random.Random(0), state=told[-1].object["state"], made=list(told), now=100.0, number=5)
            world.row = replace(world.row, state=STATES[0])
            for event in order:
                world.deliver(event)
            world.come_to_rest()
            assert world.is_right()
            ends.add(str(sorted(world.row.columns().items(), key=str)))
        assert len(ends) == 1


def _five_changes(rng: random.Random) -> list[Event]:
    world = World(rng)
    for _ in range(5):
        world.now += rng.choice((1.5, 3.0, 20.0))
        world.change()
    return world.made

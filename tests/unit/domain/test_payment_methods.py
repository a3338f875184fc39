"""In whatever order a payment method's events and lists come, what is detached stays that, and the rest ends as Stripe
has it: many random schedules, with servers whose clocks differ by a second."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from worker.domain import payment_methods
from worker.domain.payment_methods import Kept, Missed, is_an_order_of, missed

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULES = 1500


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@dataclass
class Listing:
    """Under way: when it was asked for, what took effect, and when."""

    sent: float
    listed: tuple[str, ...] | None = None
    answered: float | None = None


@dataclass
class World:
    """Stripe, our rows of one customer as the statements keep them (`worker.store.payment_methods`), and what is on its
    way. `revives` is a rule that is broken: a late event brings back what was detached."""

    rng: random.Random
    revives: bool = False
    now: float = 0.0
    made: int = 0
    there: list[str] = field(default_factory=list)
    events: list[tuple[str, bool, datetime]] = field(default_factory=list)
    listing: Listing | None = None
    rows: dict[str, Kept] = field(default_factory=dict)
    revived: bool = False

    def attach(self) -> None:
        self.made += 1
        self.there.insert(0, f"pm_{self.made}")
        self._told(self.there[0], attached=True)

    def detach(self) -> None:
        if self.there:
            gone = self.rng.choice(self.there)
            self.there.remove(gone)
            self._told(gone, attached=False)

    def _told(self, which: str, *, attached: bool) -> None:
        self.events.append((which, attached, at(int(self.now + self.rng.uniform(-1, 1)))))

    def leap(self) -> None:
        self.now += self.rng.choice((0.0, 0.4, 1.1, 2.5, 4.0))

    def hear_any(self) -> None:
        if self.events:
            self.hear(*self.rng.choice(self.events))

    def hear(self, which: str, attached: bool, created: datetime) -> None:
        known = self.rows.get(which)
        if attached and (known is None or (self.revives and not known.is_attached)):
            self._write(which, Kept(which, True, created))
        if not attached and (known is None or known.is_attached):
            self._write(which, Kept(which, False, created))

    def go_on_listing(self) -> None:
        if self.listing is None:
            self.listing = Listing(self.now)
        elif self.listing.listed is None:
            self.listing.listed = tuple(self.there)
        elif self.listing.answered is None:
            self.listing.answered = self.now
        else:
            self._take(self.listing.listed, self.listing.sent, self.listing.answered)
            self.listing = None

    def _take(self, listed: tuple[str, ...], sent: float, answered: float) -> None:
        date = int(answered + self.rng.uniform(-1, 1))
        found = missed(list(self.rows.values()), listed, at(date - (answered - sent) - 1))
        for which in found.attached:
            self._write(which, Kept(which, True, at(date + 1)))
        for which in found.detached:
            self._write(which, Kept(which, False, at(date + 1)))

    def _write(self, which: str, row: Kept) -> None:
        known = self.rows.get(which)
        self.revived |= known is not None and not known.is_attached
        self.rows[which] = row

    def is_right(self) -> bool:
        for event in self.rng.sample(self.events, len(self.events)):
            self.hear(*event)
        return not self.revived and {each.id for each in self.rows.values() if each.is_attached} == set(self.there)


def live(world: World) -> bool:
    acts: list[Callable[[], None]] = [
        world.attach, world.detach, world.hear_any, world.hear_any, world.go_on_listing, world.go_on_listing,
        world.leap,
    ]  # fmt: skip
    for _ in range(40):
        world.rng.choice(acts)()
    return world.is_right()


def diverged(rng: random.Random, *, revives: bool = False) -> int:
    return sum(not live(World(random.Random(rng.getrandbits(32)), revives)) for _ in range(SCHEDULES))


def test_no_schedule_brings_back_what_was_detached(rng: random.Random) -> None:
    assert diverged(rng) == 0


def test_it_would_be_noticed_if_a_late_event_did() -> None:
    assert diverged(random.Random(1), revives=True) > 0


def test_it_would_be_noticed_if_there_were_no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment_methods, "SLACK", timedelta(seconds=-4))
    assert diverged(random.Random(1)) > 0


def test_a_list_tells_what_was_missed_the_oldest_first() -> None:
    kept = [Kept("pm_1", True, at(0)), Kept("pm_2", True, at(0)), Kept("pm_gone", False, at(0))]
    assert missed(kept, ["pm_4", "pm_3", "pm_1"], at(10)) == Missed(("pm_3", "pm_4"), ("pm_2",))


def test_a_list_says_nothing_of_what_was_heard_since_it_was_asked_for() -> None:
    kept = [Kept("pm_1", True, at(9)), Kept("pm_gone", False, at(9))]
    assert missed(kept, ["pm_gone"], at(10)) == Missed()


def test_what_a_later_list_has_was_taken_for_detached_by_mistake() -> None:
    assert missed([Kept("pm_1", False, at(0))], ["pm_1"], at(10)) == Missed(("pm_1",))


@pytest.mark.parametrize(
    ("ids", "is_one"),
    [(["b", "a"], True), (["a", "b"], True), (["a"], False), (["a", "b", "b"], False), (["a", "c"], False)],
)
def test_an_order_has_each_that_is_present_once(ids: list[str], is_one: bool) -> None:
    assert is_an_order_of(ids, ["a", "b"]) is is_one

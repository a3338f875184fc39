"""Two processes take in one subscription's events and ask Stripe for it, interleaved in any order, on the real tables:
its row never goes back in time, ends as Stripe has it, and every version of it is told once.

The model (`tests/unit/events/test_never_back_in_time.py`) plays many more schedules of the same rules; here it is their
SQL, its locks and fences, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.interleavings.puppet import Place
from tests.interleavings.story import Story, end_of
from tests.interleavings.world import World, finish, flight_of
from worker.domain.subscription import Verdict, judge
from worker.events import absorption

SCHEDULES, STEPS = 8, 120


def play(world: World, rng: random.Random) -> str | None:
    story = Story(world, rng)
    steps: Sequence[Callable[[], None]] = [
        story.change, story.change_card, story.leap, story.hear, story.refetch, story.take_effect, story.die,
        *[story.go_on] * 5,
    ]  # fmt: skip
    for _ in range(STEPS):
        rng.choice(steps)()
    story.come_to_rest()
    return story.wrong()


def wrongs(new_world: Callable[[], World], rng: random.Random) -> Iterator[str]:
    for _ in range(SCHEDULES):
        world = new_world()
        try:
            if wrong := play(world, random.Random(rng.getrandbits(32))):
                yield wrong
        finally:
            world.stop()


def test_whatever_two_processes_do_a_row_ends_as_stripe_has_it_and_is_told_once(
    new_world: Callable[[], World], rng: random.Random
) -> None:
    assert list(wrongs(new_world, rng)) == []


def test_it_would_be_noticed_if_a_stale_snapshot_were_taken(
    new_world: Callable[[], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {Verdict.STALE: Verdict.APPLIED}
    monkeypatch.setattr(absorption, "judge", lambda *seen: taken.get(judge(*seen), judge(*seen)))
    assert next(wrongs(new_world, random.Random(1)), None)


def test_what_is_confirmed_while_stripe_answers_is_not_undone_by_that_answer(
    new_world: Callable[[], World], rng: random.Random
) -> None:
    """A change is undone within a second: the fetch saw the change, and an event that equals the row is later."""
    story = Story(new_world(), rng)
    world, (asking, hearing) = story.world, story.world.processes
    changed, undone = (_changed(story, end) for end in (story.ends[0] + 86_400, story.ends[0]))
    asking.hear([changed()])
    finish(asking)
    asking.refetch()
    while asking not in world.busy(Place.REQUEST):
        world.go(asking)
    world.wire.land(flight_of(asking))
    hearing.know_days()
    hearing.hear([undone()])
    finish(hearing)
    finish(asking)
    assert [end_of(each.after) for each in world.told()] == story.ends
    story.come_to_rest()
    assert story.wrong() is None
    world.stop()


def _changed(story: Story, end: int) -> Callable[[], dict[str, Any]]:
    def change() -> dict[str, Any]:
        story.world.ask_stripe("POST", f"/v1/subscriptions/{story.id}", f"trial_end={end}")
        return story.told[-1]

    return change


def test_cards_of_one_batch_are_taken_in_by_their_time(new_world: Callable[[], World], rng: random.Random) -> None:
    story = Story(new_world(), rng)
    world, process = story.world, story.world.processes[0]
    customer = f"customer={story.customer}"
    gone, first, second = (
        world.ask_stripe("POST", f"/v1/payment_methods/{card}/attach", customer)["id"]
        for card in ("pm_card_visa", "pm_card_mastercard", "pm_card_amex")
    )
    world.ask_stripe("POST", f"/v1/payment_methods/{gone}/detach", "")
    told = [each for each in story.told if each["type"].startswith("payment_method.")]
    process.know_days()
    process.hear([{**each, "created": each["created"] + number} for number, each in enumerate(told)][::-1])
    finish(process)
    assert world.cards() == [story.card, first, second]
    world.stop()

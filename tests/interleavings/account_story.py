"""The same subscription while its user and admins change it, pay for it, have it removed, or the user erased."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from tests.interleavings.account_checks import wrongs
from tests.interleavings.desk import Told
from tests.interleavings.process import Process
from tests.interleavings.puppet import Place
from tests.interleavings.story import A_LEASE, OLD_VERSION, Story
from tests.interleavings.world import USER, World, finish, flight_of
from worker.domain.account_changes import ChangeRefused, Kind, Wish
from worker.domain.accounts import SubscriptionChange
from worker.domain.event import TYPES

ADMIN = "admin"
PATCHES = (
    {"plan": "pro"}, {"plan": "pending"}, {"canceling": True}, {"canceling": False}, {"stripe_source": "pm_card_visa"},
    {"plan": "pro", "canceling": True}, {"stripe_source": "pm_card_visa", "plan": "pro"},
)  # fmt: skip
URLS = {"success_url": "https://app.example.com/", "cancel_url": "https://app.example.com/"}
LATER = [timedelta(seconds=each) for each in (0.4, 5.0, 5.0)]
RESTS = 4
"""So often all comes to its end, and is compared: what goes wrong is soon covered by what happens next."""

MOST_ROUNDS = 15
"""Leases after which all that was asked for has ended."""


class AccountStory(Story):
    """`endings`: what may be asked for once, beside what is asked for again and again."""

    def __init__(self, world: World, rng: random.Random, endings: Sequence[Kind]) -> None:
        world.start_another()
        super().__init__(world, rng)
        self.endings = list(endings)
        self.asked: dict[tuple[str, str], Wish] = {}
        self.ids: dict[tuple[str, str], set[uuid.UUID]] = defaultdict(set)
        """Of the changes that were heard of under each caller's key."""
        self.is_subscribed_elsewhere = False
        price = world.ask_stripe("GET", "/v1/prices?lookup_keys[]=pending")["data"][0]
        self.price = str(price["id"])
        form = f"product={price['product']}&lookup_key=pro&currency=usd&unit_amount=900&recurring[interval]=month"
        world.ask_stripe("POST", "/v1/prices", form)
        for process in world.processes:
            self._begin(process)

    @staticmethod
    def _begin(process: Process) -> None:
        process.know_days()
        process.open_desk()

    # What people ask

    def patch(self) -> None:
        """Of the user or an admin, under a new key or one of before."""
        caller = self.rng.choice((USER, USER, ADMIN))
        known = [key for key in self.asked if key[0] == caller]
        if known and self.rng.random() < 0.25:
            self._ask(self.asked[self.rng.choice(known)])
        else:
            self._ask_anew(caller, Kind.UPDATE, self.rng.choice(PATCHES))

    def choose(self) -> None:
        """A plan, on a page of Checkout's; or what an open one asks for is done there, of which its event tells."""
        sessions = self.world.stripe.ledger.tables["checkout.session"].all()
        pages = [each for each in sessions if each["status"] == "open"]
        if pages and self.rng.random() < 0.7:
            path = f"/v1/payment_pages/{self.rng.choice(pages)['id']}/confirm"
            self.world.ask_stripe("POST", path, "payment_method=pm_card_visa")
        else:
            self._ask_anew(USER, Kind.CHECKOUT, {"plan": self.rng.choice(("pro", "pending"))}, URLS)

    def end(self) -> None:
        """Seldom, and once: the subscription is removed, or the user erased."""
        if self.endings and self.rng.random() < 0.1:
            self._ask_anew(ADMIN, self.endings.pop(0))

    def _ask_anew(
        self, caller: str, kind: Kind, change: Mapping[str, Any] | None = None, about: Mapping[str, str] | None = None
    ) -> None:
        key = (caller, str(len(self.asked)))
        changed = SubscriptionChange(**(change or {}))
        self.asked[key] = Wish(self._id(), kind, USER, caller, changed, key[1], about=about or {})
        self._ask(self.asked[key])

    def _ask(self, wish: Wish) -> None:
        """Each request has an id of its own, which is its change's if there is none under its key."""
        if idle := self.world.idle:
            again = replace(wish, id=self._id())
            self.rng.choice(idle).ask(again, partial(self._hear, again))

    def _hear(self, wish: Wish, told: Told) -> None:
        assert wish.idempotency_key is not None
        if not isinstance(told, ChangeRefused):
            self.ids[wish.caller, wish.idempotency_key].add(wish.id if told is None else told.id)

    def _id(self) -> uuid.UUID:
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    # What is done at Stripe

    def subscribe_elsewhere(self) -> None:
        """In the dashboard, once."""
        if not self.is_subscribed_elsewhere and self.rng.random() < 0.1:
            self.is_subscribed_elsewhere = True
            form = f"customer={self.customer}&items[0][price]={self.price}&trial_period_days=9"
            self.world.ask_stripe("POST", "/v1/subscriptions", form)

    def arrive_late(self) -> None:
        """A request that nobody waits for any more; or it never does."""
        if orphans := self.world.orphans():
            self.rng.choice((self.world.wire.land, self.world.wire.vanish))(self.rng.choice(orphans))

    # The workers

    def hear(self) -> None:
        """The latest, as on most days."""
        if (idle := self.world.idle) and self.rng.random() < 0.5:
            events = list(self.world.stripe.ledger.tables["event"].rows.values())
            self.rng.choice(idle).hear([each for each in events if each["type"] in TYPES][-self.rng.randint(1, 3) :])
        else:
            super().hear()

    def overtake(self) -> None:
        """What Stripe says of the subscription is on its way, and what happens after that is heard of first."""
        flights = [flight_of(each) for each in self.world.busy(Place.REQUEST)]
        asking = [each for each in flights if each.call.path == f"/v1/subscriptions/{self.id}"]
        if not asking or not self.world.idle:
            return
        if asking[0] in self.world.wire.under_way:
            self.world.wire.land(asking[0])
        self.world.pass_time(self.rng.choice(LATER))
        self.change()
        process = self.rng.choice(self.world.idle)
        version = self.rng.choice((None, OLD_VERSION))  # of which a snapshot isn't taken: it is asked for
        process.hear([{**each, "api_version": version or each["api_version"]} for each in self.told[-2:]])
        finish(process)

    def make_changes(self) -> None:
        if idle := self.world.idle:
            self.rng.choice(idle).make_changes()

    def die(self) -> None:
        """Most often one that has asked something of Stripe."""
        asking = [each for each in self.world.busy(Place.REQUEST) if flight_of(each).is_write]
        if self.rng.random() < (0.3 if asking else 0.03):
            number = self.world.processes.index(self.rng.choice(asking or self.world.processes))
            self.world.kill(self.world.processes[number])
            self._begin(self.world.processes[number])

    # The end

    def come_to_rest(self) -> None:
        for flight in self.world.orphans():
            self.world.wire.land(flight)
        for process in self.world.processes:
            finish(process)
        self._ask_again(self.asked.values())
        for _ in range(MOST_ROUNDS):
            for process in self.world.processes:
                self._let(process, process.make_changes)
                self._let(process, partial(process.hear, self.rng.sample(self.told, len(self.told))))
                self._let(process, process.refetch)
            if not self.world.refreshes() and not self.world.waiting():
                break
            self.world.pass_time(A_LEASE)
        self._ask_again([self.asked[key] for key in self.ids])  # what was refused then may be taken in now

    def _ask_again(self, wishes: Iterable[Wish]) -> None:
        """Whoever lost an answer."""
        process = self.world.processes[0]
        for wish in wishes:
            again = replace(wish, id=self._id())
            self._let(process, partial(process.ask, again, partial(self._hear, again)))

    def _let(self, process: Process, act: Callable[[], None]) -> None:
        """Undisturbed."""
        act()
        while not process.idle:
            self.world.go(process)

    def wrong(self) -> str | None:
        return next(wrongs(self.world, self.customer, self.ids), None)


def play_account(world: World, rng: random.Random, endings: Sequence[Kind], steps: int) -> str | None:
    story = AccountStory(world, rng, endings)
    acts: Sequence[Callable[[], None]] = [
        story.change, story.leap, *[story.hear] * 2, story.refetch, story.take_effect, *[story.overtake] * 2, story.die,
        *[story.patch] * 2, story.make_changes, story.choose, story.subscribe_elsewhere, story.arrive_late, story.end,
        *[story.go_on] * 13,
    ]  # fmt: skip
    for _ in range(RESTS):
        for _ in range(steps // RESTS):
            rng.choice(acts)()
        story.come_to_rest()
        if wrong := story.wrong():
            return wrong
    return None

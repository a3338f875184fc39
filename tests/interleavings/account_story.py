"""The same subscription while its user and admins change it, pay for it, have it removed, or the user erased."""

from __future__ import annotations

import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, pairwise
from typing import Any

from tests.interleavings.desk import Told
from tests.interleavings.process import Process
from tests.interleavings.story import A_LEASE, Story
from tests.interleavings.world import ENDED, USER, World, finish
from worker.domain.account_changes import ChangeRefused, Kind, Step, Wish
from worker.domain.accounts import SubscriptionChange
from worker.domain.erasure import ErasureState
from worker.domain.stripe_facts import SubscriptionFact
from worker.domain.subscription import as_json
from worker.stripe_api.parsing import subscription_fact

ADMIN = "admin"
PATCHES = (
    {"plan": "pro"}, {"plan": "pending"}, {"canceling": True}, {"canceling": False}, {"stripe_source": "pm_card_visa"},
    {"plan": "pro", "canceling": True}, {"stripe_source": "pm_card_visa", "plan": "pro"},
)  # fmt: skip
CARDS = {Step.ATTACH, Step.COLLECT}
"""Steps by which a card comes to be attached, each in a change of its own."""

ASKED = {Step.PLAN, Step.CANCELING}
URLS = {"success_url": "https://app.example.com/", "cancel_url": "https://app.example.com/"}
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

    def make_changes(self) -> None:
        if idle := self.world.idle:
            self.rng.choice(idle).make_changes()

    def die(self) -> None:
        if self.rng.random() < 0.05:
            number = self.rng.randrange(len(self.world.processes))
            self.world.kill(self.world.processes[number])
            self._begin(self.world.processes[number])

    # The end

    def come_to_rest(self) -> None:
        for flight in self.world.orphans():
            self.world.wire.land(flight)
        for process in self.world.processes:
            finish(process)
        self._ask_again()
        for _ in range(MOST_ROUNDS):
            for process in self.world.processes:
                self._let(process, process.make_changes)
                self._let(process, partial(process.hear, self.rng.sample(self.told, len(self.told))))
                self._let(process, process.refetch)
            if not self.world.refreshes() and not self.world.waiting():
                break
            self.world.pass_time(A_LEASE)
        self._ask_again()

    def _ask_again(self) -> None:
        """Whoever lost an answer."""
        process = self.world.processes[0]
        for wish in self.asked.values():
            again = replace(wish, id=self._id())
            self._let(process, partial(process.ask, again, partial(self._hear, again)))

    def _let(self, process: Process, act: Callable[[], None]) -> None:
        """Undisturbed."""
        act()
        while not process.idle:
            self.world.go(process)

    def wrong(self) -> str | None:
        return next(self._wrongs(), None)

    def _wrongs(self) -> Iterator[str]:
        world = self.world
        if left := world.waiting():
            yield f"still waiting: {left}"
        if world.refreshes():
            yield "something is still marked"
        if several := {key: ids for key, ids in self.ids.items() if len(ids) > 1}:
            yield f"one key, several changes: {several}"
        made = [each for each in world.stripe.ledger.tables["subscription"].all() if each["customer"] == self.customer]
        for each in made:
            yield from (f"{each['id']}: {wrong}" for wrong in self._wrongs_of(str(each["id"])))
        if not self._is_erased():
            yield from self._wrongs_of_what_was_asked()
        elif alive := [*world.customers(), *(each for each in made if each["status"] not in ENDED)]:
            yield f"erased, and there is {[each['id'] for each in alive]}"

    def _is_erased(self) -> bool:
        row = self.world.row()
        return row is not None and row.state == ErasureState.ERASED

    def _wrongs_of(self, identifier: str) -> Iterator[str]:
        """Its row is as Stripe has it, and what was told of it is its history; or it was removed for good."""
        world = self.world
        told = [each for each in world.told() if each.stripe_subscription_id == identifier]
        states = [each.after for each in told if each.after is not None]
        if [each.version for each in told] != [*range(1, len(states) + 1), *[len(states)] * (len(told) - len(states))]:
            yield f"versions {[each.version for each in told]} were told"
        if any(before.after != after.before for before, after in pairwise(told)):
            yield "what is told isn't one chain"
        past = [_columns(each) for each in self._history(identifier)]
        kept, history = [{name: each[name] for name in past[0]} for each in states], iter(past)
        if not all(state in history for state, _ in groupby(kept)):  # each further on in it
            yield f"it went back: {kept}"
        found = subscription_fact(world.ask_stripe("GET", f"/v1/subscriptions/{identifier}"))
        row = world.subscription(identifier) if world.is_there(identifier) else None
        if identifier in world.buried():
            if row is not None or not found.is_terminal or len(told) - len(states) != 1:
                yield f"it was removed, and told of {len(told) - len(states)} times; Stripe has {found}, and we {row}"
        elif row is None:
            if not self._is_erased():
                yield "there is no row"
        elif row.state != found.columns(str(found.price_lookup_key)) or row.version != len(states):
            yield f"the row says {row}, and Stripe {found}"

    def _history(self, identifier: str) -> list[SubscriptionFact]:
        """The states that it went through, as its events have them, in the order in which those were made."""
        events = self.world.stripe.ledger.tables["event"].rows.values()
        states = [each["data"]["object"] for each in events if each["type"].startswith("customer.subscription.")]
        return [subscription_fact(each) for each in states if each["id"] == identifier]

    def _wrongs_of_what_was_asked(self) -> Iterator[str]:
        """Each card was attached once; and whoever asked last for a plan, or for an end, has it."""
        world, wanted, cards = self.world, defaultdict[str, dict[str, object]](dict), 1
        for each in world.changes():
            held = set(each.steps[: each.done])
            cards += not held.isdisjoint(CARDS)
            wanted[str(each.stripe_subscription_id)] |= {name: each.wanted[name] for name in held & ASKED}
        path = f"/v1/customers/{self.customer}/payment_methods?limit=100"
        if (attached := len(world.ask_stripe("GET", path)["data"])) != cards:
            yield f"{attached} cards are attached, and {cards} were to be"
        for identifier, asked in wanted.items():
            state = world.subscription(identifier).state if world.is_there(identifier) else {"ended_at": None, **asked}
            if state["ended_at"] is None and asked.items() - state.items():
                yield f"asked for {asked}, and it is {state}"


def _columns(fact: SubscriptionFact) -> dict[str, Any]:
    """As the outbox has them."""
    columns: dict[str, Any] = json.loads(as_json(fact.columns(str(fact.price_lookup_key))))
    return columns


def play_account(world: World, rng: random.Random, endings: Sequence[Kind], steps: int) -> str | None:
    story = AccountStory(world, rng, endings)
    acts: Sequence[Callable[[], None]] = [
        story.change, story.leap, story.hear, story.hear, story.refetch, story.take_effect, story.die, story.patch,
        story.patch, story.make_changes, story.choose, story.subscribe_elsewhere, story.arrive_late, story.end,
        *[story.go_on] * 14,
    ]  # fmt: skip
    for _ in range(steps):
        rng.choice(acts)()
    story.come_to_rest()
    return story.wrong()

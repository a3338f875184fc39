"""A subscription whose events two processes take in while it changes at Stripe, told step by step."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

from tests.interleavings.process import LEASE
from tests.interleavings.puppet import Order, Place
from tests.interleavings.world import USER, World, finish, flight_of
from worker.domain.event import TYPES
from worker.domain.invoice import charge, merged
from worker.domain.subscription import charge_columns
from worker.stripe_api.parsing import fetched_subscription

A_LEASE = LEASE + timedelta(seconds=1)
LEAPS = [timedelta(seconds=each) for each in (0.0, 0.01, 0.01, 0.4, 0.4, 1.1, 1.1, 2.5)] + [A_LEASE]
OLD_VERSION = "2025-03-31.basil"


class Story:
    """A subscription whose trial's end says how often it was changed."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.changes = 0
        world.pass_time(datetime.now(UTC).replace(microsecond=0) - world.now())  # whose days the tables have
        world.forget_events()
        first = world.processes[0]
        first.know_days()
        first.deliver("profile_created", world.message(USER, None, world.now()))
        for _ in range(2):
            finish(first)
            first.work()
        finish(first)
        self._began = int(world.now().timestamp())
        made = world.subscriptions()[0]
        self.id = str(made["id"])
        self.customer = str(made["customer"])
        attached = f"customer={self.customer}"
        self.card = world.ask_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", attached)["id"]
        self.has_card = False
        self.ends = [int(made["trial_end"])]

    @property
    def told(self) -> list[dict[str, Any]]:
        """Every event so far."""
        found: list[dict[str, Any]] = [
            each for each in self.world.stripe.ledger.tables["event"].all() if each["type"] in TYPES
        ]
        return found

    # Steps

    def change(self) -> None:
        """One of Stripe's servers does it, by its own clock. No state comes twice, but for its undoing."""
        self.changes += self.rng.choice((1, 1, 1, -1)) if self.changes else 1
        end = self._began + 86_400 * (60 + self.changes)
        self.world.stripe.clock.offset = self.rng.uniform(-1, 1)
        self.world.ask_stripe("POST", f"/v1/subscriptions/{self.id}", f"trial_end={end}")
        self.world.stripe.clock.offset = 0.0
        self.ends.append(end)

    def change_card(self) -> None:
        """The customer's default: there, and gone again."""
        self.has_card = not self.has_card
        self.world.stripe.clock.offset = self.rng.uniform(-1, 1)
        form = f"invoice_settings[default_payment_method]={self.card if self.has_card else ''}"
        self.world.ask_stripe("POST", f"/v1/customers/{self.customer}", form)
        self.world.stripe.clock.offset = 0.0

    def leap(self) -> None:
        self.world.pass_time(self.rng.choice(LEAPS))

    def hear(self) -> None:
        """Some, in any order, as often as it comes; now and then at another version."""
        events = [self.rng.choice(self.told) for _ in range(self.rng.randint(1, 4))]
        version = OLD_VERSION if self.rng.random() < 0.1 else None
        for process in self.world.idle[:1]:
            process.hear([{**each, "api_version": version or each["api_version"]} for each in events])

    def refetch(self) -> None:
        for process in self.world.idle[-1:]:
            process.refetch()

    def go_on(self) -> None:
        """One of them, to its next gate; now and then what it commits, or its answer, is lost."""
        if busy := self.world.busy():
            self.world.go(self.rng.choice(busy), Order.FAIL if self.rng.random() < 0.05 else Order.GO)

    def take_effect(self) -> None:
        """A question is answered, and the answer is on its way."""
        if asking := self.world.busy(Place.REQUEST):
            flight = flight_of(self.rng.choice(asking))
            if flight in self.world.wire.under_way:
                self.world.wire.land(flight)

    def die(self) -> None:
        if self.rng.random() < 0.05:
            number = self.rng.randrange(2)
            self.world.kill(self.world.processes[number])
            self.world.processes[number].know_days()

    # The end

    def come_to_rest(self) -> None:
        """All arrives, by polling at the latest; then nothing is marked any more."""
        for process in self.world.processes:
            finish(process)
            process.know_days()
            process.hear(self.rng.sample(self.told, len(self.told)))
            finish(process)
        for _ in range(10):
            if not self.world.refreshes():
                return
            self.world.pass_time(A_LEASE)
            for process in self.world.processes:
                process.refetch()
                finish(process)

    def wrong(self) -> str | None:
        """What isn't as it is to be."""
        row, told = self.world.subscription(self.id), self.world.told()
        expanded = "expand[]=latest_invoice&expand[]=customer"
        at_stripe = self.world.ask_stripe("GET", f"/v1/subscriptions/{self.id}?{expanded}")
        found = fetched_subscription(at_stripe)
        known = merged(row.charge, charge(found.latest_invoice) if found.latest_invoice else None)
        ours = {**row.state, **charge_columns(row.charge), "card": row.customer_default, "payable": row.payable}
        card = {"card": self.card if self.has_card else None, "payable": self.has_card}
        if ours != {**found.fact.columns("pending"), **charge_columns(known), **card}:
            return f"the row says {ours}, and Stripe {found}"
        if [each.version for each in told] != list(range(1, row.version + 1)):
            return f"versions {[each.version for each in told]} of {row.version} were told"
        if any(before.after != after.before for before, after in pairwise(told)):
            return "what is told isn't one chain"
        history = iter(self.ends)
        ends = [end for end, _ in groupby(end_of(each.after) for each in told)]  # a card's change has the same again
        if not all(end in history for end in ends):  # each further on in it
            return f"it went back: {ends} of {self.ends}"
        if self.world.refreshes():
            return "something is still marked"
        return None


def end_of(columns: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(columns["trial_end"]).timestamp())

"""The rules by which a test plays with two workers: whatever can happen, in any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Row

from tests.integration.provisioning.process import LEASE, REQUEST_TIMEOUT, TOPICS, Process
from tests.integration.provisioning.puppet import Order, Place
from tests.integration.provisioning.world import USER, World, flight_of
from worker.domain.provisioning import SHORTEST_TRIAL_TO_SEND, UNFINISHED, State
from worker.errors import TryLater
from worker.sandbox.stripe.faults import Fault

T = TypeVar("T")

A_LEASE = LEASE + timedelta(seconds=1)
MOST_ROUNDS = 60
"""Leases after which a row must be completed once nothing goes wrong any more."""

MOST_DELIVERIES = 4

SAVED_500 = {
    "without effect": Fault("status", "before", status=500, sticky=True),
    "with effect": Fault("status", "after", status=500, sticky=True),
}
FAULTS = {
    "saved 402": Fault("status", "before", status=402, sticky=True),
    "503 without effect": Fault("status", "before", status=503),
    "503 with effect": Fault("status", "after", status=503),
    "429": Fault("status", "before", status=429),
    "lock timeout": Fault("status", "before", status=429, code="lock_timeout"),
}
WRITES_ONLY = {"saved 402"}
"""A list that is refused quarantines a row whose requests may still be under way; a person retries it later."""

SPANS = [timedelta(minutes=5), timedelta(minutes=11), timedelta(hours=22), timedelta(hours=25), timedelta(days=90)]
AGES = [timedelta(0), timedelta(0), timedelta(0), timedelta(hours=30), timedelta(hours=100), None]
"""Of the profile: a new one, one that is looked for first, one whose trial begins at first sight, and no word of it."""

picks = st.integers(0, 3)


def pick(options: Sequence[T], number: int) -> T:
    return options[number % len(options)]


class Interleavings(RuleBasedStateMachine):
    """One user, two workers. `new_world` makes an empty one."""

    def __init__(self, new_world: Callable[[], World]) -> None:
        super().__init__()
        self.world = new_world()
        self.email: str | None = None
        self.age: timedelta | None = None
        self.outage: timedelta | None = None
        self.deletes = self.deleted = False
        self.wrong = False
        self.deliveries = 0
        self.busy_since = False  # time has passed
        self.row: Row[Any] | None = None

    @initialize(
        email=st.sampled_from(["ada@example.com", None]),
        age=st.sampled_from(AGES),
        outage=st.sampled_from([None, None, timedelta(hours=25), timedelta(days=90)]),
        deletes=st.integers(0, 7).map(lambda number: number == 7),
    )
    def begin(self, email: str | None, age: timedelta | None, outage: timedelta | None, deletes: bool) -> None:
        self.email, self.age, self.outage, self.deletes = email, age, outage, deletes
        self.world.stripe.ledger.search.lag = 3600.0
        for process in self.world.processes:  # settling is halted until something was tried
            process.work()
            self._until_idle()
        self.world.processes[0].deliver("profile_created", self.world.message(email, age))

    # NSQ

    @precondition(lambda self: self.world.idle and self.deliveries < MOST_DELIVERIES)
    @rule(number=picks, topic=st.sampled_from(list(TOPICS)), email=st.sampled_from(["same", "other", "none"]))
    def deliver(self, number: int, topic: str, email: str) -> None:
        """A message, perhaps once more, perhaps edited."""
        self.deliveries += 1
        sent = {"same": self.email, "other": "ada@example.org", "none": None}[email]
        pick(self.world.idle, number).deliver(topic, self.world.message(sent, self.age))

    # The workers

    @precondition(lambda self: self.world.idle and self.unfinished)
    @rule(number=picks)
    def work(self, number: int) -> None:
        pick(self.world.idle, number).work()

    @precondition(lambda self: self.world.busy())
    @rule(number=picks, steps=st.integers(1, 4))
    def go_on(self, number: int, steps: int) -> None:
        """Some gates further, but not past a write without stopping there."""
        process = pick(self.world.busy(), number)
        for _ in range(steps):
            self._step(process)
            gate = process.puppet.at
            if gate is None or (gate.flight is not None and gate.flight.is_write):
                break

    def _step(self, process: Process) -> None:
        """To the next gate, as if nothing were wrong; what was sent too long ago is not waited for."""
        gate = process.puppet.at
        assert gate is not None
        order = Order.GO
        if gate.flight is not None and self.world.time() - gate.flight.sent_at > REQUEST_TIMEOUT:
            order = Order.FAIL
        self.world.go(process, order)

    @precondition(lambda self: self.world.busy())
    @rule(number=picks, how=st.sampled_from(["commit lost", "commit lost", "killed"]))
    def break_off(self, number: int, how: str) -> None:
        """It is killed where it stands; or a commit fails, or its answer is lost."""
        process = pick(self.world.busy(), number)
        if how == "killed":
            self.world.kill(process)
        elif process in self.world.busy(Place.COMMIT, Place.COMMITTED):
            self.world.go(process, Order.FAIL)
        else:
            self._step(process)

    @precondition(lambda self: self.world.busy())
    @rule(number=picks)
    def go_to_next_write(self, number: int) -> None:
        """As far as it goes without sending one."""
        process = pick(self.world.busy(), number)
        self._step(process)
        while not process.idle and process not in self.writing():
            self._step(process)

    # Requests to Stripe: sent, begun, in effect, answered

    @precondition(lambda self: self.world.sending())
    @rule(number=picks)
    def reach_stripe(self, number: int) -> None:
        self.world.wire.begin(flight_of(pick(self.world.sending(), number)))

    @precondition(lambda self: self.world.busy(Place.REQUEST))
    @rule(number=picks)
    def take_effect(self, number: int) -> None:
        self.world.wire.land(flight_of(pick(self.world.busy(Place.REQUEST), number)))

    @precondition(lambda self: self.world.busy(Place.REQUEST))
    @rule(number=picks, order=st.sampled_from([Order.FAIL, Order.FAIL_AT_ONCE]))
    def lose_answer(self, number: int, order: Order) -> None:
        """The worker hears nothing; the request goes its way."""
        self.world.go(pick(self.world.busy(Place.REQUEST), number), order)

    @precondition(lambda self: self.world.orphans())
    @rule(number=picks)
    def take_effect_late(self, number: int) -> None:
        self.world.wire.land(pick(self.world.orphans(), number))

    @precondition(lambda self: self.world.orphans())
    @rule(number=picks)
    def vanish(self, number: int) -> None:
        self.world.wire.vanish(pick(self.world.orphans(), number))

    @precondition(lambda self: self.world.sending())
    @rule(number=picks, name=st.sampled_from(list(FAULTS)))
    def fail_at_stripe(self, number: int, name: str) -> None:
        process = pick(self.world.sending(), number)
        flight = flight_of(process)
        if flight.is_write or name not in WRITES_ONLY:
            flight.fault = FAULTS[name]
            self._step(process)

    @precondition(lambda self: self.writing())
    @rule(number=picks, effect=st.sampled_from([*SAVED_500, "with effect"]))
    def burn_key(self, number: int, effect: str) -> None:
        """Stripe fails, and keeps that as the key's answer."""
        process = pick(self.writing(), number)
        flight_of(process).fault = SAVED_500[effect]
        self._step(process)

    def writing(self) -> Sequence[Process]:
        return [process for process in self.world.sending() if flight_of(process).is_write]

    # Time

    @precondition(lambda self: self.unfinished and self.busy_since)
    @rule(span=st.sampled_from([A_LEASE, A_LEASE, *SPANS]))
    def pass_time(self, span: timedelta) -> None:
        self._pass_time(span)

    def _pass_time(self, span: timedelta) -> None:
        self.busy_since = False
        self.world.pass_time(span)

    @precondition(lambda self: self.busy_since and self.trial_left() > A_LEASE)
    @rule()
    def near_the_end_of_the_trial(self) -> None:
        """Half a minute before so little of the trial is left that it isn't sent any more."""
        self._pass_time(self.trial_left() - A_LEASE / 2)

    @property
    def unfinished(self) -> bool:
        return self.row is not None and self.row.state in UNFINISHED

    def trial_left(self) -> timedelta:
        """Until the row's trial is too short to be sent; negative without a row that is unfinished."""
        if self.row is None or not self.unfinished:
            return timedelta(-1)
        left: timedelta = self.row.trial_end - self.world.now() - SHORTEST_TRIAL_TO_SEND
        return left

    # People

    @precondition(lambda self: self.row is not None and self.row.state == State.QUARANTINED)
    @rule()
    def retry_quarantined(self) -> None:
        with suppress(TryLater):  # a message for the user is being absorbed, and holds the row
            self.world.retry_quarantined()

    @precondition(lambda self: self.email and not self.world.stripe.ledger.tables["customer"].count())
    @rule()
    def add_stranger_with_the_same_email(self) -> None:
        self.world.ask_stripe("POST", "/v1/customers", "email=ada%40example.com&metadata[subkeeper]=somebody-else")

    @precondition(lambda self: self.deletes and not self.deleted and self.world.customers())
    @rule()
    def delete_customer(self) -> None:
        self.deleted = True
        self.world.ask_stripe("DELETE", f"/v1/customers/{self.world.customers()[0]['id']}")

    @precondition(lambda self: not self.unfinished and not self.world.busy())
    @rule()
    def rest(self) -> None:
        """There is nothing left to do."""

    # What always holds, and what holds at the end

    @invariant()
    def never_two(self) -> None:
        self.row = self.world.row()  # as the next rules see it
        self.busy_since = self.busy_since or bool(self.world.busy())
        customers, subscriptions = self.world.customers(), self.world.subscriptions()
        self.wrong = len(customers) > 1 or len(subscriptions) > 1
        assert len(customers) <= 1, "two customers"
        assert len(subscriptions) <= 1, "two subscriptions"

    def teardown(self) -> None:
        try:
            if not self.wrong:
                self._finish()
        finally:
            self.world.stop()

    def _finish(self) -> None:
        """Nothing goes wrong any more, perhaps after a last long outage of all workers; but what is under way takes
        effect as late as it can."""
        if self.outage is not None:
            for process in self.world.busy():
                self.world.kill(process)
            self.world.pass_time(self.outage)
        self._until_idle()
        self.world.processes[0].deliver("profile_created", self.world.message(self.email, self.age))
        self._until_idle()
        for _ in range(MOST_ROUNDS):
            row = self.world.row()
            if row is not None and row.state == State.COMPLETED:
                break
            if row is not None and row.state == State.QUARANTINED:
                self.world.retry_quarantined()
            self.world.pass_time(A_LEASE)
            self.world.processes[0].work()
            self._until_idle()
        for flight in self.world.orphans():
            self.world.wire.land(flight)
        self._check_end()

    def _until_idle(self) -> None:
        while busy := self.world.busy():
            self._step(busy[0])

    def _check_end(self) -> None:
        self.never_two()
        row = self.world.row()
        assert row is not None
        assert row.state == State.COMPLETED, f"{row.state} after {row.attempts} attempts: {row.last_error}"
        assert row.customer_request is None, "the sealed profile is still there"
        assert self.world.billing() == [(USER, row.stripe_customer_id, row.stripe_subscription_id)]
        if self.deleted:
            return  # a subscription that Stripe told us of before its customer was deleted has ended with it
        assert [customer["id"] for customer in self.world.customers()] == [row.stripe_customer_id]
        assert [subscription["id"] for subscription in self.world.subscriptions()] == [row.stripe_subscription_id]
        assert self.world.subscriptions()[0]["customer"] == row.stripe_customer_id

"""The rules by which a test plays with two workers: whatever can happen, in any order.

The workers' configurations differ, and the database's history may be lost, restored or set back under them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Row

from sandbox.stripe.faults import Fault
from tests.interleavings.process import (
    BACKFILL_TOPIC,
    CONFIGURATIONS,
    LEASE,
    LIVE_TOPIC,
    MAX_LAG,
    REQUEST_TIMEOUT,
    Configuration,
    Process,
)
from tests.interleavings.puppet import Order, Place
from tests.interleavings.world import ENDED, USERS, Snapshot, World, flight_of
from worker.domain.provisioning import SHORTEST_TRIAL_TO_SEND, UNFINISHED, State
from worker.errors import TryLater

T = TypeVar("T")

A_LEASE = LEASE + timedelta(seconds=1)
MOST_ROUNDS = 60
"""Leases after which a row must be completed once nothing goes wrong any more."""

MOST_DELIVERIES = 4
"""Of a user, since the database was lost last."""

MOST_PRICES = 3

SECOND = timedelta(seconds=1)
"""`Date` has whole seconds, so a worker's view of Stripe's time may be behind by so much."""

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
pauses = st.sampled_from([timedelta(minutes=1), timedelta(hours=3), timedelta(hours=25)])
"""From the loss of a database until settling begins anew."""


def pick(options: Sequence[T], number: int) -> T:
    return options[number % len(options)]


@dataclass(slots=True)
class Story:
    """What is known of one user beside our tables and Stripe."""

    user: str
    email: str | None
    created_at: datetime | None
    deliveries: int = 0
    deleted: bool = False
    row: Row[Any] | None = None
    """The ledger row as the last step left it."""
    first_sights: list[datetime] = field(default_factory=list)
    """The trial's ends that messages absorbed so far may have been frozen with."""
    trial_ends: set[datetime] = field(default_factory=set)
    """All that the ledger has ever said."""

    @property
    def unfinished(self) -> bool:
        return self.row is not None and self.row.state in UNFINISHED

    def trial_end(self, first_seen: datetime, configuration: Configuration) -> datetime:
        """When the trial of a profile first seen then must end."""
        created = min(self.created_at or first_seen, first_seen)
        return (created if first_seen - created <= MAX_LAG else first_seen) + configuration.trial


class Interleavings(RuleBasedStateMachine):
    """Two users, two workers. `new_world` makes an empty one."""

    def __init__(self, new_world: Callable[[], World]) -> None:
        super().__init__()
        self.world = new_world()
        self.stories: dict[str, Story] = {}
        self.moments: list[datetime] = []
        self.outage: timedelta | None = None
        self.deletes = False
        self.wrong = False
        self.busy_since = False  # time has passed
        self.backup: Snapshot | None = None
        self.is_backed_up = False
        self.prices = 1

    @initialize(
        emails=st.sampled_from([("ada@example.com", None), ("ada@example.com", "ada@example.com"), (None, None)]),
        ages=st.tuples(st.sampled_from(AGES), st.sampled_from(AGES)),
        outage=st.sampled_from([None, None, timedelta(hours=25), timedelta(days=90)]),
        deletes=st.integers(0, 7).map(lambda number: number == 7),
    )
    def begin(
        self, emails: Sequence[str | None], ages: Sequence[timedelta | None], outage: timedelta | None, deletes: bool
    ) -> None:
        self.outage, self.deletes = outage, deletes
        self.world.stripe.ledger.search.lag = 3600.0
        self.moments.append(self.world.now())
        for user, email, age in zip(USERS, emails, ages, strict=True):
            created_at = None if age is None else self.world.now() - age
            self.stories[user] = Story(user, email, created_at)
        for process in self.world.processes:  # settling is halted until something was tried
            process.work()
            self._until_idle()
        self._deliver(self.world.processes[0], self.stories[USERS[0]], LIVE_TOPIC, self.stories[USERS[0]].email)

    # NSQ

    @precondition(lambda self: self.world.idle and self.deliverable)
    @rule(
        who=picks,
        number=picks,
        topic=st.sampled_from([LIVE_TOPIC, BACKFILL_TOPIC]),
        email=st.sampled_from(["same", "other", "none"]),
    )
    def deliver(self, who: int, number: int, topic: str, email: str) -> None:
        """A message, perhaps once more, perhaps edited."""
        story = pick(self.deliverable, who)
        sent = {"same": story.email, "other": "ada@example.org", "none": None}[email]
        self._deliver(pick(self.world.idle, number), story, topic, sent)

    @property
    def deliverable(self) -> Sequence[Story]:
        return [story for story in self.stories.values() if story.deliveries < MOST_DELIVERIES]

    def _deliver(self, process: Process, story: Story, topic: str, email: str | None) -> None:
        story.deliveries += 1
        story.first_sights.append(story.trial_end(self.world.now(), process.configuration))
        process.deliver(topic, self.world.message(story.user, email, story.created_at))

    # The workers

    @precondition(lambda self: self.world.idle and self.unfinished)
    @rule(number=picks)
    def work(self, number: int) -> None:
        pick(self.world.idle, number).work()

    @precondition(lambda self: not self.world.busy() and self.unfinished)
    @rule(number=picks)
    def work_undisturbed(self, number: int) -> None:
        """As on most days; what comes later then meets users who are served."""
        pick(self.world.processes, number).work()
        self._until_idle()

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
        self.always()  # two commits in a row are two changes

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
        for process in self.world.processes:
            process.refresh_prices()
        self.moments.append(self.world.now())

    @precondition(lambda self: self.busy_since and self.trial_left() > A_LEASE)
    @rule()
    def near_the_end_of_the_trial(self) -> None:
        """Half a minute before so little of the trial is left that it isn't sent any more."""
        self._pass_time(self.trial_left() - A_LEASE / 2)

    @property
    def unfinished(self) -> Sequence[Story]:
        return [story for story in self.stories.values() if story.unfinished]

    def trial_left(self) -> timedelta:
        """Until the first unfinished row's trial is too short to be sent; negative where there is none."""
        ends = [story.row.trial_end for story in self.unfinished if story.row is not None]
        return min(ends) - self.world.now() - SHORTEST_TRIAL_TO_SEND if ends else timedelta(-1)

    # People

    @precondition(
        lambda self: any(story.row and story.row.state == State.QUARANTINED for story in self.stories.values())
    )
    @rule()
    def retry_quarantined(self) -> None:
        with suppress(TryLater):  # a message for the user is being absorbed, and holds the row
            self.world.retry_quarantined()

    @precondition(lambda self: not self.world.stripe.ledger.tables["customer"].count())
    @rule()
    def add_stranger_with_the_same_email(self) -> None:
        self.world.ask_stripe("POST", "/v1/customers", "email=ada%40example.com&metadata[subkeeper]=somebody-else")

    @precondition(lambda self: self.deletes and self.with_customer)
    @rule(who=picks)
    def delete_customer(self, who: int) -> None:
        story = pick(self.with_customer, who)
        self.deletes, story.deleted = False, True
        self.world.ask_stripe("DELETE", f"/v1/customers/{self.world.customers(story.user)[0]['id']}")

    @property
    def with_customer(self) -> Sequence[Story]:
        return [story for story in self.stories.values() if self.world.customers(story.user)]

    @precondition(lambda self: self.subscribed)
    @rule(who=picks)
    def cancel(self, who: int) -> None:
        """The user has had enough: nobody subscribes them again."""
        story = pick(self.subscribed, who)
        self.world.ask_stripe("DELETE", f"/v1/subscriptions/{self.world.subscriptions(story.user)[0]['id']}")

    @property
    def subscribed(self) -> Sequence[Story]:
        return [story for story in self.stories.values() if self.world.subscriptions(story.user)]

    @precondition(lambda self: self.prices < MOST_PRICES and self.unfinished)
    @rule(archive=st.booleans())
    def replace_price(self, archive: bool) -> None:
        self.prices += 1
        self.world.replace_price(archive=archive)

    # The database's history

    @precondition(lambda self: self.unfinished and not self.is_backed_up)
    @rule()
    def back_up(self) -> None:
        self.backup, self.is_backed_up = self.world.snapshot(), True

    @precondition(lambda self: self.busy_since or self.backup)
    @rule(pause=pauses)
    def lose_database(self, pause: timedelta) -> None:
        """With its workers. The source replays those it knows, and settling begins after a while."""
        replayed = [story for story in self.stories.values() if story.first_sights]
        self._kill_all()
        self.world.lose_database()
        self._forget_history()
        for story in replayed:
            self._deliver(self.world.processes[0], story, BACKFILL_TOPIC, story.email)
            self._until_idle()
        self._pass_time(pause)

    @precondition(lambda self: self.backup is not None)
    @rule(pause=pauses)
    def restore_database(self, pause: timedelta) -> None:
        """By the runbook: every unfinished row is in doubt before workers start."""
        assert self.backup is not None
        self._kill_all()
        self.world.set_back(self.backup)
        self.world.doubt()
        self._forget_history()
        self._pass_time(pause)

    @precondition(lambda self: self.backup is not None)
    @rule()
    def set_database_back(self) -> None:
        """Under workers that go on."""
        assert self.backup is not None
        self.world.set_back(self.backup)
        self._forget_history()

    def _kill_all(self) -> None:
        for process in list(self.world.processes):
            self.world.kill(process)

    def _forget_history(self) -> None:
        rows = self.world.rows()
        for story in self.stories.values():
            story.deliveries, story.row = 0, rows.get(story.user)

    @precondition(lambda self: not self.unfinished and not self.world.busy())
    @rule()
    def rest(self) -> None:
        """There is nothing left to do."""

    # What always holds, and what holds at the end

    @invariant()
    def always(self) -> None:
        self.wrong = True
        rows = self.world.rows()
        for story in self.stories.values():
            self._never_two(story)
            self._trial_ends_when_it_must(story, rows.get(story.user))
            self.is_backed_up = self.is_backed_up and story.row == rows.get(story.user)
            story.row = rows.get(story.user)  # as the next rules see it
        self.busy_since = self.busy_since or bool(self.world.busy())
        self.wrong = False

    def _never_two(self, story: Story) -> None:
        customers, subscriptions = self.world.customers(story.user), self.world.all_subscriptions(story.user)
        assert len(customers) <= 1, "two customers"
        if story.deleted:  # whose subscription ended with it
            subscriptions = [each for each in subscriptions if each["status"] not in ENDED]
        assert len(subscriptions) <= 1, "two subscriptions"

    def _trial_ends_when_it_must(self, story: Story, row: Row[Any] | None) -> None:
        """To the second: as at first sight; of a trial that was spent, or is longer than the worker that settles it
        gives, the full length from when that was seen."""
        before = story.row
        if row is not None and (before is None or row.trial_end != before.trial_end):
            from_then = [
                moment + configuration.trial
                for configuration in CONFIGURATIONS
                for moment in self.moments
                if before is not None
                and (before.trial_end - moment < SHORTEST_TRIAL_TO_SEND + SECOND or row.trial_end < before.trial_end)
            ]
            allowed = story.first_sights + from_then
            assert any(abs(row.trial_end - end) <= SECOND for end in allowed), (row.trial_end, allowed)
        if row is not None:
            story.trial_ends.add(row.trial_end)
        for subscription in self.world.all_subscriptions(story.user):
            known = {int(end.timestamp()) for end in story.trial_ends}
            assert subscription["trial_end"] in known, "a trial's end that the ledger never said"

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
            self._kill_all()
            self._pass_time(self.outage)
        self._until_idle()
        for story in self.stories.values():
            self._deliver(self.world.processes[0], story, LIVE_TOPIC, story.email)
            self._until_idle()
        for _ in range(MOST_ROUNDS):
            states = {row.state for row in self.world.rows().values()}
            if states == {State.COMPLETED}:
                break
            if State.QUARANTINED in states:
                self.world.retry_quarantined()
            self._pass_time(A_LEASE)
            self.world.processes[0].work()
            self._until_idle()
        for flight in self.world.orphans():
            self.world.wire.land(flight)
        self.always()
        for story in self.stories.values():
            self._check_end(story)

    def _until_idle(self) -> None:
        while busy := self.world.busy():
            self._step(busy[0])

    def _check_end(self, story: Story) -> None:
        row, world = story.row, self.world
        assert row is not None
        assert row.state == State.COMPLETED, f"{row.state} after {row.attempts} attempts: {row.last_error}"
        assert row.customer_request is None, "the sealed profile is still there"
        assert world.billing(story.user) == [(story.user, row.stripe_customer_id, row.stripe_subscription_id)]
        if story.deleted:
            return  # a subscription that Stripe told us of before its customer was deleted has ended with it
        assert [customer["id"] for customer in world.customers(story.user)] == [row.stripe_customer_id]
        subscriptions = world.all_subscriptions(story.user)
        assert [subscription["id"] for subscription in subscriptions] == [row.stripe_subscription_id]
        assert subscriptions[0]["customer"] == row.stripe_customer_id

"""Processes start, stop, die, hang and lose Postgres: together they never send more than Stripe grants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from tests.interleavings.playing import play
from tests.interleavings.time import Time
from tests.support.simulated_clock import set_clock, with_simulated_clock
from worker.domain.budget import LEAST_RATE
from worker.domain.lanes import Lane
from worker.errors import TryLater, Unavailable
from worker.runtime.budget import LIFETIME, Budget
from worker.settings.sections import DatabaseSettings
from worker.store import processes
from worker.store.engine.database import Database
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Health, Metrics

TOTAL, LONGEST = 80.0, 10.0
WEIGHTS = dict.fromkeys(Lane, 1)
A_LITTLE = 1e-6
SPANS = [0.3, 1.0, 1.0, 1.0, 3.0, LIFETIME.total_seconds() + 0.1, LONGEST, 60.0]


class Wanting(Limiter):
    """Says what the test says of how much it was used."""

    used = (0.0, 0.0)

    def use(self) -> tuple[float, float]:
        return self.used


class LosingDatabase(Database):
    """Loses the next commit, or only its answer."""

    loses = ""

    @contextmanager
    def transaction(self, lock_timeout: float | None = None) -> Iterator[Connection]:
        loses, self.loses = self.loses, ""
        with super().transaction(lock_timeout) as tx:
            yield tx
            if loses == "commit":
                raise Unavailable("postgres", "lost")
        if loses == "answer":
            raise Unavailable("postgres", "lost")


class Site:
    """A database that nobody has joined; its clock is `time`, as is everybody's."""

    def __init__(self, settings: DatabaseSettings, engine: Engine, metrics: Metrics) -> None:
        self.time = Time()
        self.database = LosingDatabase(settings)
        self.metrics = metrics
        self._eyes = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self.forget_all()
        self.pass_time(0.0)

    def set_database_ahead(self, seconds: float) -> None:
        """Only Postgres's clock."""
        set_clock(self._eyes, self.time.now() + timedelta(seconds=seconds))

    def forget_all(self) -> None:
        """The rows are lost."""
        self._eyes.execute(text("DELETE FROM processes"))

    def pass_time(self, seconds: float) -> None:
        self.time.go_on(timedelta(seconds=seconds))
        set_clock(self._eyes, self.time.now())

    def close(self) -> None:
        self._eyes.close()
        self.database.close()


class Member:
    """A process, as far as it sends to Stripe. `total`: what its settings grant all."""

    def __init__(self, site: Site, total: float = TOTAL) -> None:
        self._site = site
        self.health = Health([])
        self.limiter = Wanting(total, total, weights=WEIGHTS, clock=site.time)
        self.budget = Budget(site.database, self.limiter, site.metrics, self.health, longest_request=LONGEST)
        self.renewed_at = site.time()
        self.budget.join()

    def want(self, *, everything: bool) -> None:
        self.limiter.used = (1000.0, 1000.0) if everything else (0.0, 0.0)

    def renew(self) -> None:
        self.budget.renew()
        self.renewed_at = self._site.time()

    @property
    def rate(self) -> float:
        """What it may send in this second."""
        return self.limiter.rates()["account"]


class Fleet(RuleBasedStateMachine):
    """`new_site` makes an empty one."""

    def __init__(self, new_site: Callable[[], Site]) -> None:
        super().__init__()
        self.site = new_site()
        self.members: list[Member] = []
        self.left: list[tuple[float, float]] = []
        """What others sent who are dead, and until when that counts."""

    def pick(self, number: int) -> Member:
        return self.members[number % len(self.members)]

    @precondition(lambda self: len(self.members) < 5)
    @rule()
    def start(self) -> None:
        self.members.append(Member(self.site))

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 4))
    def renew(self, number: int) -> None:
        self.pick(number).renew()

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 4), loses=st.sampled_from(["commit", "answer"]))
    def renew_in_vain(self, number: int, loses: str) -> None:
        self.site.database.loses = loses
        with suppress(Unavailable, TryLater):
            self.pick(number).budget.renew()

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 4), everything=st.booleans())
    def want(self, number: int, everything: bool) -> None:
        self.pick(number).want(everything=everything)

    @rule(seconds=st.sampled_from(SPANS))
    def pass_time(self, seconds: float) -> None:
        """Whoever doesn't renew meanwhile hangs, or can't reach Postgres, and sends what it may."""
        self.site.pass_time(seconds)

    @rule()
    def renew_all(self) -> None:
        self.site.pass_time(1.0)
        for member in self.members:
            member.renew()

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 4))
    def kill(self, number: int) -> None:
        member = self.pick(number)
        self.left.append((member.rate, member.renewed_at + LIFETIME.total_seconds() + LONGEST))
        self.members.remove(member)

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 4))
    def stop(self, number: int) -> None:
        member = self.pick(number)
        member.budget.stop(drained=True)
        member.budget.run()
        self.members.remove(member)

    @invariant()
    def never_more_than_stripe_grants(self) -> None:
        """But for one request a second of each that has no share yet, or none any more."""
        self.left = [(rate, until) for rate, until in self.left if until > self.site.time()]
        rates = [member.rate for member in self.members] + [rate for rate, _ in self.left]
        assert sum(rates) <= TOTAL + LEAST_RATE * len(rates) + A_LITTLE, rates
        assert min(rates, default=LEAST_RATE) >= LEAST_RATE - A_LITTLE, rates

    def teardown(self) -> None:
        """All want all, and nothing goes wrong any more: nothing of the rate is left over."""
        try:
            for member in self.members:
                member.want(everything=True)
            for _ in range(round(LIFETIME.total_seconds() + LONGEST) + 4):
                self.renew_all()
            if self.members:
                rates = [member.rate for member in self.members]
                assert rates == pytest.approx([TOTAL / len(rates)] * len(rates))
        finally:
            self.site.close()


def two_who_want_all(site: Site) -> tuple[Member, Member]:
    first, second = Member(site), Member(site)
    for member in (first, second, first, second):
        member.want(everything=True)
        member.renew()
    assert [first.rate, second.rate] == [TOTAL / 2, TOTAL / 2]
    return first, second


@pytest.fixture
def new_site(database_url: str) -> Iterator[Callable[[], Site]]:
    engine = with_simulated_clock(database_url)
    of_the_test, metrics = DatabaseSettings(url=SecretStr(database_url), pool_size=2), Metrics("test")
    yield lambda: Site(of_the_test, engine, metrics)
    engine.dispose()


@pytest.fixture
def site(new_site: Callable[[], Site]) -> Iterator[Site]:
    site = new_site()
    yield site
    site.close()


def test_a_new_process_sends_one_request_a_second_until_everybody_has_made_room_for_it(site: Site) -> None:
    first, second = two_who_want_all(site)
    third = Member(site)
    third.want(everything=True)
    third.renew()
    first.renew()
    third.renew()
    assert third.rate == LEAST_RATE
    second.renew()
    third.renew()
    assert [first.rate, second.rate, third.rate] == pytest.approx([TOTAL / 3] * 3)


def test_a_share_grows_once_the_row_of_who_died_has_expired_and_its_last_request_with_it(site: Site) -> None:
    _, left = two_who_want_all(site)
    waited = 0.0
    while left.rate == TOTAL / 2:
        site.pass_time(1.0)
        left.renew()
        waited += 1.0
    assert LIFETIME.total_seconds() + LONGEST <= waited <= LIFETIME.total_seconds() + LONGEST + 1
    assert left.rate == TOTAL


def test_what_nobody_wants_is_at_hand_for_all_and_what_one_wants_the_others_give(site: Site) -> None:
    busy, idle = Member(site), Member(site)
    for _ in range(3):
        for member in (busy, idle):
            site.pass_time(1.0)
            member.renew()
    assert [busy.rate, idle.rate] == [TOTAL / 2, TOTAL / 2]
    busy.want(everything=True)
    for _ in range(20):
        for member in (busy, idle):
            site.pass_time(1.0)
            member.renew()
    assert [busy.rate, idle.rate] == pytest.approx([TOTAL - LEAST_RATE, LEAST_RATE])


def test_who_can_t_renew_falls_to_one_request_a_second_when_its_row_expires_and_joins_anew(site: Site) -> None:
    hung = Member(site)
    site.pass_time(LIFETIME.total_seconds() - 0.1)
    assert hung.rate == TOTAL
    site.pass_time(0.1)
    assert hung.rate == LEAST_RATE
    site.pass_time(LONGEST)
    other = Member(site)
    assert other.rate == TOTAL
    hung.renew()
    assert hung.rate == LEAST_RATE


def test_whoever_is_to_send_less_does_so_before_saying_so(site: Site) -> None:
    first, second = Member(site), Member(site)
    site.database.loses = "answer"
    with pytest.raises(Unavailable):
        first.renew()
    second.renew()
    assert [first.rate, second.rate] == [TOTAL / 2, TOTAL / 2]


def test_whose_row_was_lost_joins_anew(site: Site) -> None:
    first = Member(site)
    site.forget_all()
    second = Member(site)
    assert second.rate == TOTAL
    first.renew()
    assert first.rate == LEAST_RATE


def test_while_somebody_else_may_be_about_to_send_more_a_row_is_renewed_and_no_more_is_sent(site: Site) -> None:
    with site.database.transaction() as tx:
        assert processes.may_grow(tx)
        member = Member(site)
        assert member.rate == LEAST_RATE
    member.renew()
    assert member.rate == TOTAL


def test_whom_postgres_takes_for_dead_joins_anew(site: Site) -> None:
    """Its own clock stood still, or Postgres's went ahead."""
    held = Member(site)
    site.set_database_ahead(LIFETIME.total_seconds() + LONGEST + 1)
    other = Member(site)
    assert other.rate == TOTAL
    held.renew()
    assert held.rate == LEAST_RATE


def test_of_those_whose_settings_differ_all_keep_to_the_least(site: Site) -> None:
    members = [Member(site), Member(site, total=20.0)]
    for _ in range(4):
        for member in members:
            member.want(everything=True)
            member.renew()
    assert [member.rate for member in members] == [10.0, 10.0]


def test_a_clock_that_was_set_back_keeps_no_dead_process_alive(site: Site) -> None:
    Member(site)
    site.pass_time(-3600.0)
    left = Member(site)
    for _ in range(round(LIFETIME.total_seconds() + LONGEST) + 2):
        site.pass_time(1.0)
        left.renew()
    assert left.rate == TOTAL


def test_rows_of_long_ago_are_forgotten(site: Site) -> None:
    Member(site)
    for hours, left in ((1, 1), (2, 0)):
        site.pass_time(hours * 3600)
        with site.database.transaction() as tx:
            processes.forget_expired(tx)
            assert len(processes.claims(tx)) == left


@pytest.mark.timeout(300)
def test_together_they_never_send_more_than_is_granted_and_in_the_end_all_of_it(
    new_site: Callable[[], Site], seed: int
) -> None:
    play(lambda: Fleet(new_site), seed, examples=60, steps=40)

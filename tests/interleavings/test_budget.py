"""Processes start, stop, die, hang and lose Postgres: together they never send more than Stripe grants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from tests.interleavings.time import Time
from tests.support.simulated_clock import set_clock, with_simulated_clock
from worker.domain.budget import LEAST_RATE
from worker.domain.lanes import Lane
from worker.errors import TryLater, Unavailable
from worker.runtime.budget import LIFETIME, Budget
from worker.settings import DatabaseSettings
from worker.store.engine.database import Database
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Health, Metrics

TOTAL, LONGEST = 80.0, 10.0
WEIGHTS = dict.fromkeys(Lane, 1)
A_LITTLE = 1e-6
SPANS = [0.3, 1.0, 1.0, 1.0, 3.0, LIFETIME.total_seconds() + 0.1, LONGEST, 60.0]


class Wanting(Limiter):
    """Says what the test says of how much it was used."""

    used = (0, 0.0)

    def use(self) -> tuple[int, float]:
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
        self._eyes.execute(text("DELETE FROM processes"))
        self.pass_time(0.0)

    def pass_time(self, seconds: float) -> None:
        self.time.go_on(timedelta(seconds=seconds))
        set_clock(self._eyes, self.time.now())

    def close(self) -> None:
        self._eyes.close()
        self.database.close()


class Member:
    """A process, as far as it sends to Stripe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.limiter = Wanting(TOTAL, TOTAL, weights=WEIGHTS, clock=site.time)
        self.budget = Budget(site.database, self.limiter, site.metrics, Health([]), LONGEST)
        self.renewed_at = site.time()
        self.budget.join()

    def want(self, *, everything: bool) -> None:
        self.limiter.used = (1000, 1000.0) if everything else (0, 0.0)

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
        member = Member(self.site)
        assert member.rate <= LEAST_RATE + A_LITTLE or not (len(self.members) or self.left), "more than a newcomer's"
        self.members.append(member)

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
        member.budget.leave(drained=True)
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


@pytest.fixture
def new_site(database_url: str) -> Iterator[Callable[[], Site]]:
    engine = with_simulated_clock(database_url)
    of_the_test, metrics = DatabaseSettings(url=SecretStr(database_url), pool_size=2), Metrics("test")
    yield lambda: Site(of_the_test, engine, metrics)
    engine.dispose()


@pytest.mark.timeout(300)
def test_together_they_never_send_more_than_is_granted_and_in_the_end_all_of_it(
    new_site: Callable[[], Site], seed: int
) -> None:
    @hypothesis.seed(seed)
    def machine() -> Fleet:
        return Fleet(new_site)

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # any callable that makes one will do
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, database=None, print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip

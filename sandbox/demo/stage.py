"""The demo's stage: a deployment on a test clock of the sandbox's Stripe, its people, and what becomes of them."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import click
from rich.console import Console

from sandbox.demo import proof
from sandbox.demo.doors import Door, doors
from sandbox.demo.lives import MOMENTS, Moment, drawn
from sandbox.demo.people import AtStripe, People, TestClock, paid_price
from sandbox.demo.traffic import Traffic
from sandbox.demo.verdict import Expected, Provisioned, Verdict, provisioned, verdict
from sandbox.demo.view import Days, signing_up
from sandbox.sandbox import Sandbox
from sandbox.stripe.control import Control
from worker.broker.publisher import Publisher
from worker.cli.verify_view import in_words
from worker.settings.model import Settings
from worker.store import overview
from worker.store.engine.database import Database
from worker.store.overview import Account

STRIPE_LATENCY = {"dist": "lognormal", "median": 120.0, "sigma": 0.3}
"""Milliseconds: about what Stripe takes for a create."""

CHAOS_RATES = {
    "rate_limited": 0.05,
    "lock_timeout": 0.01,
    "unavailable": 0.05,
    "error_before": 0.03,
    "error_after": 0.03,
    "drop_before": 0.03,
    "drop_after": 0.05,
    "partial": 0.03,
    "slow_body": 0.05,
}
PATIENCE = 120.0
"""Seconds without any progress after which the demo gives up and counts what is there."""

QUIET, LONGEST_DAY = 0.5, 4.0
"""A day is shown until nothing has changed for so many seconds, and so long at most; longer with many people."""

FETCHES_A_SECOND = 50
"""What the workers do of them at least: each person's subscription is fetched on most days."""

LONGEST_WAIT = 120.0
"""Seconds for what is still on its way, as polls that failed are up to a minute apart; then it is compared so."""

POLL = 0.1
SAMPLE = 4
MOST_TOLD = 20
"""Lines about what differs."""


@dataclass(frozen=True, slots=True)
class Plot:
    """How many profiles, at how many a second, on how bad a day; `seed` repeats its draws."""

    profiles: int
    pace: float
    chaos: bool
    seed: int

    def drawn(self, what: str) -> random.Random:
        """A generator of its own for each thread, so that the seed repeats it."""
        return random.Random(f"{self.seed} {what}")  # noqa: S311 - a seed that repeats it is wanted


class Stopped(Exception):
    """The demo was given up while this thread waited."""


class Stage:
    """Made once the sandbox is up, before any worker. `environ` is for these, over the sandbox's configuration."""

    def __init__(self, plot: Plot, sandbox: Sandbox) -> None:
        self._stripe = AtStripe(sandbox.addresses.stripe_api_base, sandbox.addresses.stripe_secret_key)
        self._clock, self._price = TestClock(self._stripe), paid_price(self._stripe)
        self.environ = {
            "SUBKEEPER_STRIPE__TEST_CLOCK": self._clock.id,
            "SUBKEEPER_STRIPE__MONTHLY_READS": "100000000",  # the poller asks every 5 s
            "SUBKEEPER_EVENTS__REFRESH_THREADS": "16",  # a month of changes comes within a second
        }
        self._plot = plot
        self._sandbox = sandbox
        self._settings = Settings.load(Path(sandbox.addresses.config), self.environ)
        self._database = Database(self._settings.database, application_name="subkeeper demo")
        self._control = Control(sandbox.addresses.stripe_api_base)
        self._control.latency(**STRIPE_LATENCY)
        self._control.fault("latency", match={"path": "/v1/test_helpers"}, ms=0)  # no part of any real signup
        if plot.chaos:
            self._control.chaos(plot.seed, CHAOS_RATES, STRIPE_LATENCY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    # People sign up

    def sign_up(self, console: Console) -> Provisioned:
        """Publishes all profiles, and waits until each is settled."""
        plot = self._plot
        traffic = Traffic(plot.profiles, plot.pace, chaos=plot.chaos, rng=plot.drawn("traffic"))
        started = time.monotonic()
        with _beside(lambda wait: self._publish(traffic, wait)) as publishing:
            self._watch(traffic, publishing, console)
        seconds = time.monotonic() - started
        with self._database.transaction() as tx:
            accounts = overview.accounts(tx)
        plan = self._settings.plans[self._settings.pending_plan]
        expected = Expected(plan.lookup_key, timedelta(days=self._settings.trial.days), self._clock.began)
        state, requests = self._control.state(), self._control.requests()
        return provisioned(traffic.sent, accounts, state, requests, expected, seconds=seconds)

    def _publish(self, traffic: Traffic, wait: Callable[[float], None]) -> None:
        publisher = Publisher(self._settings.nsq, rng=random.Random())  # noqa: S311 - jitter of reconnects
        try:
            traffic.publish(lambda body: publisher.publish(self._settings.nsq.profile_topic, [body]), wait)
        finally:
            publisher.close()

    def _watch(self, traffic: Traffic, publishing: Future[None], console: Console) -> None:
        """Shows progress until every profile is settled, or nothing has moved for `PATIENCE`."""
        with signing_up(console, self._plot.profiles) as move:
            before, moved = 0, time.monotonic()
            while before < self._plot.profiles and time.monotonic() - moved < PATIENCE:
                time.sleep(POLL)
                if publishing.done():
                    publishing.result()  # raises what publishing raised
                with self._database.transaction() as tx:
                    now = overview.finished(tx)
                if now > before:
                    before, moved = now, time.monotonic()
                move(len(traffic.sent), now)
            publishing.result()

    # Time passes

    def let_time_pass(self, days: Days) -> None:
        """The test clock advances, people act, and webhooks come twice, late, in disorder and never."""
        lives = drawn([f"user-{number:06}" for number in range(1, self._plot.profiles + 1)], self._plot.drawn("lives"))
        people = People(self._stripe, self._clock, self._price, lives)
        self._control.mishap("drop", probability=0.1, times=max(1, self._plot.profiles // 4))
        self._control.mishap("duplicate", probability=0.1)
        self._control.mishap("delay", probability=0.1, low=100, high=2000)
        self._control.mishap("reorder", probability=0.2, ms=300)
        self._look(Moment(0, "signed up"), days)
        for moment in MOMENTS:
            self._clock.advance_to(moment.day)
            people.act(moment.day)
            self._look(moment, days)

    def catch_up(self, days: Days) -> None:
        """Polls bring what webhooks have lost."""
        self._control.clear_faults()
        heard = proof.Heard(self._database, self._stripe.events())
        until = time.monotonic() + LONGEST_WAIT
        days.begin()
        moment = Moment(MOMENTS[-1].day, f"{self._lost()} lost events came by polls")
        while not (heard.all() or time.monotonic() > until):
            self._show(moment, days)
            time.sleep(POLL)
        self._show(moment, days, done=True)

    def _look(self, moment: Moment, days: Days) -> None:
        """Until the rows have followed."""
        days.begin()
        changed = time.monotonic()
        until = changed + LONGEST_DAY + self._plot.profiles / FETCHES_A_SECOND
        before: object = None
        while (now := time.monotonic()) < min(changed + QUIET, until):
            if (shown := self._show(moment, days)) != before or self._is_busy():
                before, changed = shown, now
            time.sleep(POLL)
        self._show(moment, days, done=True)

    def _show(self, moment: Moment, days: Days, *, done: bool = False) -> object:
        """How the rows stand; what is shown of them."""
        with self._database.transaction() as tx:
            counts, changes = overview.statuses(tx), overview.changes(tx)
        days.show(moment.day, counts, moment.title, self._foot(changes), done=done)
        return counts, changes

    def _is_busy(self) -> bool:
        with self._database.transaction() as tx:
            return overview.under_way(tx) > 0

    def _foot(self, changes: int) -> str:
        heard = self._sandbox.nsqd.published(self._settings.nsq.events_topic)
        return f"{heard} events heard, {changes} changes told"

    # What came of it

    def prove(self, signed_up: Provisioned) -> tuple[Verdict, Sequence[Account]]:
        """Compares every row with Stripe; what differs is told on stderr."""
        found = proof.drift(self._settings, self._plot.drawn("proof"))
        for line in itertools.islice(itertools.chain.from_iterable(map(in_words, found)), MOST_TOLD):
            click.echo(line, err=True)
        heard = proof.events(self._database, self._sandbox, self._settings.nsq.events_topic)
        with self._database.transaction() as tx:
            accounts, changes = overview.accounts(tx), overview.changes(tx)
        result = verdict(
            signed_up, accounts, self._control.state(), heard, changes=changes, drift=len(found), seed=self._plot.seed
        )
        return result, _different(accounts)

    def doors(self) -> list[Door]:
        """Where a person goes on."""
        return doors(self._stripe, self._clock.id, self._price)

    def _lost(self) -> int:
        """How many events no webhook has brought."""
        attempts = self._control.deliveries()
        return len({each["event"] for each in attempts} - {each["event"] for each in attempts if each["status"] == 200})


@contextmanager
def _beside(work: Callable[[Callable[[float], None]], None]) -> Iterator[Future[None]]:
    """Runs it on a thread, which ends with the block: what it is given to wait by raises then."""
    over = threading.Event()

    def wait(seconds: float) -> None:
        if over.wait(seconds):
            raise Stopped

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(work, wait)
        finally:
            over.set()


def _different(accounts: Sequence[Account]) -> Sequence[Account]:
    """A few, each in another state."""
    firsts = {each.status: each for each in reversed(accounts)}
    return sorted(firsts.values(), key=lambda each: each.user_id)[:SAMPLE]

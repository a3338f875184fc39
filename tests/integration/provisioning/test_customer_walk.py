"""The walk that all looks share, on the sandbox's Stripe: how little it reads, and that it overlooks nobody."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.support.waiting import wait_until
from worker.domain.deadline import Deadline, boot_time
from worker.domain.lanes import Lane
from worker.domain.provisioning import user_digest
from worker.domain.stripe_facts import CustomerFact
from worker.errors import TryLater
from worker.provisioning.customer_walk import MOST_WAITING, CustomerWalk, WalkUnderWay, Wanted
from worker.provisioning.remembered_customers import RememberedCustomers
from worker.settings.sections import StripeSettings
from worker.stripe_api import gateway as gateway_module
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter.limiter import Limiter
from worker.telemetry import Metrics

PAGE = 5
EVER = datetime(2010, 1, 1, tzinfo=UTC)


class Site:
    """A Stripe account, and a walk through its customers with pages of five."""

    def __init__(self, stripe: StripeServer, rng: random.Random, most_remembered: int = 1000) -> None:
        self.control = Control(stripe.url)
        self.gateway = StripeGateway(
            StripeSettings(api_base=stripe.url),
            lambda: stripe.secret_key,
            Limiter(10_000, 10_000, weights={Lane.LIVE: 80, Lane.RETRY: 15, Lane.BACKFILL: 5}),
            rng=rng,
            observe=Metrics("test"),
        )
        self.walk = CustomerWalk(self.gateway, RememberedCustomers(most_remembered))

    def create(self, *names: str, ours: bool = True) -> None:
        for name in names:
            metadata = {"subkeeper": digest(name)} if ours else {"whose": "somebody's"}
            self.gateway.create_customer(
                {"metadata": metadata}, key=f"key-{name}", lane=Lane.LIVE, deadline=Deadline.after(20)
            )

    def find(self, name: str, start: datetime = EVER, *, asked: float | None = None) -> CustomerFact | None:
        return self.come(Wanted(digest(name), boot_time() if asked is None else asked, start))

    def come(self, wanted: Wanted, keep: Callable[[], None] = lambda: None) -> CustomerFact | None:
        deadline = Deadline.after(20)

        def kept() -> Deadline:
            keep()
            return deadline

        return self.walk.find(wanted, lane=Lane.LIVE, deadline=deadline, keep=kept)

    def pages(self) -> int:
        return sum(each["method"] == "GET" and each["path"] == "/v1/customers" for each in self.control.requests())

    def jump(self, **span: float) -> None:
        self.control.jump(timedelta(**span).total_seconds())
        self.gateway.customers_page(email="nobody@example.org", lane=Lane.LIVE, deadline=Deadline.after(20))


def digest(name: str) -> str:
    return user_digest("walk", name)


def names(count: int, prefix: str = "user") -> Sequence[str]:
    return [f"{prefix}-{number}" for number in range(count)]


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    with StripeServer(seed="walk") as server:
        yield server


@pytest.fixture
def site(stripe: StripeServer, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(gateway_module, "PAGE", PAGE)
    site = Site(stripe, rng)
    yield site
    site.gateway.close()


def test_a_page_is_read_once_for_all_rows_whose_requests_were_long_before(site: Site) -> None:
    site.create(*names(20))
    asked = boot_time()
    assert all(site.find(name, asked=asked) for name in names(20))
    assert not any(site.find(name, asked=asked) for name in names(20, "absent"))
    assert site.pages() == 4


def test_no_more_is_read_than_reaches_the_beginning_of_the_window(site: Site) -> None:
    site.create(*names(20))
    site.jump(days=2)
    before = site.pages()
    site.create(*names(7, "new"))
    assert site.find("absent", site.gateway.clock.now() - timedelta(days=1)) is None
    assert site.pages() - before == 2


def test_a_row_whose_window_begins_earlier_takes_the_walk_further_down_from_where_it_was(site: Site) -> None:
    site.create(*names(10))
    site.jump(days=2)
    site.create(*names(10, "new"))
    asked, before = boot_time(), site.pages()
    assert site.find("absent", site.gateway.clock.now() - timedelta(days=1), asked=asked) is None
    assert site.find("absent too", asked=asked) is None
    assert site.pages() - before == 4


def test_a_row_that_asked_later_is_answered_by_a_walk_of_what_is_new(site: Site) -> None:
    site.create(*names(30))
    site.jump(minutes=5)
    assert site.find("late") is None
    site.create("late")
    before = site.pages()
    assert site.find("late") is not None
    assert site.find("absent") is None
    assert site.pages() - before == 2, "a page for each, as both asked after the walk before had begun"


def test_a_customer_that_is_created_during_a_walk_is_found_by_the_next_one(site: Site) -> None:
    site.create(*names(12))
    created: list[str] = []

    def create_one() -> None:
        created.append(f"meanwhile-{len(created)}")
        site.create(created[-1])

    assert site.come(Wanted(digest("absent"), boot_time(), EVER), keep=create_one) is None
    assert len(created) >= 2
    assert all(site.find(name) is not None for name in created)


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "drop"}]
)
def test_a_walk_that_is_cut_short_goes_on_where_it_was(site: Site, fault: dict[str, object]) -> None:
    site.create(*names(25))
    wanted, read = Wanted(digest("absent"), boot_time(), EVER), 0

    def fail_after_two() -> None:
        nonlocal read
        read += 1
        if read == 2:
            site.control.fault(**fault, match={"path": "/v1/customers"})  # type: ignore[arg-type]  # JSON

    with pytest.raises(TryLater):
        site.come(wanted, keep=fail_after_two)
    site.control.clear_faults()
    before = site.pages()
    assert site.come(wanted) is None
    assert site.pages() - before == 3


def test_a_walk_whose_last_customer_was_deleted_goes_on_from_its_time(site: Site, stripe: StripeServer) -> None:
    site.create(*names(12))
    wanted, deleted = Wanted(digest("absent"), boot_time(), EVER), 0

    def delete_the_last_one_read() -> None:
        nonlocal deleted
        after = site.walk._after
        if after is not None and not deleted:
            table = stripe.service.ledger.tables["customer"]
            table.put({"id": after, "object": "customer", "deleted": True})
            deleted += 1

    assert site.come(wanted, keep=delete_the_last_one_read) is None
    assert deleted
    assert all(site.find(name, asked=wanted.asked) for name in (names(12)[0], names(12)[6]))


def test_customers_of_others_are_passed_and_an_empty_account_holds_nobody(site: Site) -> None:
    assert site.find("absent") is None
    site.create(*names(12), ours=False)
    assert site.find("absent") is None
    site.create("ada")
    assert site.find("ada") is not None


def test_rows_beyond_what_is_remembered_are_served_all_the_same(
    stripe: StripeServer, site: Site, rng: random.Random
) -> None:
    small = Site(stripe, rng, most_remembered=6)
    for number in range(6):
        small.create(*names(5, f"day-{number}"))
        small.jump(days=1)
    asked, now = boot_time(), small.gateway.clock.now()
    assert small.find("absent", asked=asked) is None
    for number in range(6):
        for name in names(5, f"day-{number}"):
            assert small.find(name, asked=asked) is not None, name
            assert small.find(f"no {name}", now - timedelta(days=7 - number), asked=asked) is None
    assert len(small.walk._remembered._by_age) <= 6 + PAGE
    small.gateway.close()


def test_rows_that_come_while_a_thread_reads_wait_a_little_or_come_back(site: Site) -> None:
    site.create(*names(6))
    site.control.latency(ms=400)
    outcomes: list[object] = []

    def look(number: int) -> None:
        try:
            outcomes.append(site.find(f"absent-{number}", asked=0.0))
        except WalkUnderWay as wait:
            outcomes.append(wait)

    threads = [threading.Thread(target=look, args=(number,)) for number in range(3 + MOST_WAITING)]
    threads[0].start()
    wait_until(lambda: site.walk._reading)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(20)
    given_back = [each for each in outcomes if isinstance(each, WalkUnderWay)]
    assert len(given_back) == 2
    assert all(each.after > 0 for each in given_back)
    assert outcomes.count(None) == 1 + MOST_WAITING
    assert site.pages() == 2


@pytest.mark.parametrize("most_remembered", [3, 12, 1000])
def test_whoever_was_there_when_asked_for_is_found_and_nobody_else(
    stripe: StripeServer, site: Site, rng: random.Random, most_remembered: int
) -> None:
    """At random: customers come, time passes, rows ask for windows of any length, many of them at once."""
    walked = Site(stripe, rng, most_remembered=most_remembered)
    there: dict[str, datetime] = {}
    for turn in range(120):
        match rng.randrange(4):
            case 0:
                walked.jump(minutes=rng.choice([1, 90, 3000]))
            case 1:
                for name in names(rng.randrange(1, 9), f"turn-{turn}"):
                    walked.create(name, ours=rng.random() < 0.7)
                    there[name] = walked.gateway.clock.now()
            case _:
                name = rng.choice([*there, "absent", f"absent-{turn}"])
                start = walked.gateway.clock.now() - timedelta(minutes=rng.choice([10, 100, 5000, 100_000]))
                found = walked.find(name, start)
                customers = walked.control.state()["customers"]
                mine = [each["id"] for each in customers if each["metadata"].get("subkeeper") == digest(name)]
                expected = mine and there[name] >= start + timedelta(seconds=2)
                assert found is None or found.id in mine
                assert found is not None or not expected, (turn, name, start)
    walked.gateway.close()


@pytest.mark.parametrize("param", [None, "created"], ids=["nothing named", "what all pages hold"])
def test_a_page_that_is_refused_is_no_row_s_fault(site: Site, param: str | None) -> None:
    site.create(*names(3))
    site.control.fault("status", status=400, param=param, match={"path": "/v1/customers", "method": "GET"})
    with pytest.raises(TryLater):
        site.find("user-0")
    site.control.clear_faults()
    assert site.find("user-0") is not None

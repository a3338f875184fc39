"""What looking for customers costs, and what it may believe: shared walks, addresses that many share, Search."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.provisioning.test_adoption import after_the_loss_of_the_database, customer_made_elsewhere
from tests.support.stack import Stack, profile, users
from tests.support.waiting import wait_until
from worker.stripe_api import gateway

PAGE = 5
DAY = timedelta(days=1).total_seconds()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "PAGE", PAGE)


def customers_of_others(stack: Stack, count: int, email: str = "info@example.org") -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stack.call_stripe("POST", "/v1/customers", email=email), range(count)))


def customers_of_ours(stack: Stack, *names: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: customer_made_elsewhere(stack, name), names))


def reads(stack: Stack, since: int = 0) -> dict[str, int]:
    """How often customers were listed by email, walked through, and searched for."""
    listed = [each["params"] for each in stack.requests("GET", "/v1/customers") if each["n"] > since]
    by_email = sum("email" in params for params in listed)
    searched = sum(each["n"] > since for each in stack.requests("GET", "/v1/customers/search"))
    return {"email": by_email, "walk": len(listed) - by_email, "search": searched}


def seen(stack: Stack) -> int:
    return int(stack.control.health()["requests"])


def test_rows_that_wait_since_an_outage_share_one_walk(stack: Stack) -> None:
    """They were asked for, nobody knows with what effect, and their keys have been forgotten since."""
    names = users(40)
    stack.control.fault("drop", match={"path": "/v1/customers", "method": "POST"}, when="after", probability=0.5)
    stack.control.fault("drop", match={"path": "/v1/customers", "method": "POST"})
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in names])
    wait_until(lambda: len({each["user_id"] for each in stack.requests("POST", "/v1/customers")}) == len(names))
    worker.stop()
    stack.control.clear_faults()
    stack.control.jump(30 * 3600)
    stack.expire_leases()
    before, there = seen(stack), len(stack.control.state()["customers"])
    stack.start_worker()
    stack.await_completed(*names, timeout=30)
    stack.assert_exactly_one(*names)
    cost = reads(stack, before)
    assert cost["walk"] <= there / PAGE + 4, cost
    assert cost["email"] <= len(names), cost
    assert cost["search"] == 0, "the walk reaches their requests"


def test_an_address_that_many_share_is_read_for_three_pages_and_left_to_the_walk(stack: Stack) -> None:
    customer = customer_made_elsewhere(stack, "ada")
    stack.call_stripe("POST", f"/v1/customers/{customer}", email="info@example.org")
    customers_of_others(stack, 8 * PAGE)
    stack.start_worker()
    stack.publish(profile("ada", email="info@example.org", created_at=None))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert stack.ledger("ada")["stripe_customer_id"] == customer
    cost = reads(stack)
    assert cost["email"] == 3
    assert cost["search"] == 0, "three reads of its own, then the walk decides"
    assert cost["walk"] <= 9


@pytest.mark.parametrize("param", [None, "email"])
def test_an_address_that_stripe_does_not_look_for_is_left_to_the_walk(stack: Stack, param: str | None) -> None:
    """Who may be refused for an address alone is served without it; a look is no reason to set anybody aside."""
    match = {"path": "/v1/customers", "method": "GET"}
    stack.control.fault("status", status=400, param=param, match=match, times=1)
    worker = stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    assert worker.metric("subkeeper_settle_seconds_count", lane="live", outcome="refused") == 0
    stack.assert_exactly_one("ada")


def test_search_takes_the_walk_s_older_part_where_it_is_not_far_behind(stack: Stack) -> None:
    customers_of_ours(stack, *users(12 * PAGE, "old"))
    stack.control.jump(40 * DAY)
    customers_of_ours(stack, *users(3, "young"))
    stack.control.jump(2 * 3600)
    stack.start_worker()
    stack.publish(profile("ada", created_at=None))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    cost = reads(stack)
    assert cost["search"] == 1
    assert cost["walk"] <= 3, "not all the old ones"


def test_what_search_does_not_show_is_believed_only_beside_a_customer_that_it_does(stack: Stack) -> None:
    """Search stands still: it shows the old ones, and none of the last days."""
    customers_of_ours(stack, *users(6 * PAGE, "old"))
    stack.control.jump(40 * DAY)
    stack.control.search_lag(10 * DAY)
    customer = customer_made_elsewhere(stack, "ada")
    stack.control.jump(5 * DAY)
    customers_of_ours(stack, *users(2 * PAGE, "young"))
    stack.control.jump(7200)
    stack.start_worker()
    stack.publish(profile("ada", created_at=None, email="another@example.org"))
    stack.await_completed("ada")
    assert stack.control.duplicates() == {}
    assert stack.ledger("ada")["stripe_customer_id"] == customer
    assert reads(stack)["search"] == 1


@pytest.mark.parametrize("status", [400, 404])
def test_without_search_the_walk_decides_over_a_profile_without_email(stack: Stack, status: int) -> None:
    """After the loss of the database, with nothing but the digest to go by."""
    worker = stack.start_worker()
    stack.publish(profile("ada", email=None, created_at=None))
    stack.await_completed("ada")
    worker.stop()
    after_the_loss_of_the_database(stack)
    stack.control.jump(2 * DAY)
    customers_of_ours(stack, *users(4 * PAGE, "other"))
    stack.control.jump(2 * 3600)
    stack.control.fault("status", status=status, match={"path": "/v1/customers/search"})
    stack.start_worker()
    stack.publish(profile("ada", email=None, created_at=None), profile("new", email=None, created_at=None))
    stack.await_completed("ada", "new")
    assert stack.control.duplicates() == {}
    assert (len(stack.customers("ada")), len(stack.customers("new"))) == (1, 1)


def test_a_customer_that_a_walk_remembers_and_that_is_gone_is_not_adopted(stack: Stack) -> None:
    stack.start_worker()
    gone = customer_made_elsewhere(stack, "ada")
    stack.publish(profile("eve", created_at=None))
    stack.await_completed("eve")
    stack.call_stripe("DELETE", f"/v1/customers/{gone}")
    stack.publish(profile("ada", created_at=None, email="another@example.org"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_walk_that_takes_long_keeps_no_signup_waiting(stack: Stack) -> None:
    """Many rows look; each page takes a second; whoever needs no look is served meanwhile."""
    customers_of_others(stack, 8 * PAGE)
    stack.control.fault("slow_body", match={"path": "/v1/customers", "method": "GET"}, ms=1000)
    stack.start_worker()
    old = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    looking = users(12, "looking")
    stack.publish(*[profile(name, email=None, created_at=old) for name in looking])
    wait_until(lambda: stack.requests("GET", "/v1/customers"))
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    assert not stack.is_completed(*looking)
    stack.control.clear_faults()
    stack.await_completed(*looking, timeout=40)
    stack.assert_exactly_one("ada", *looking)


def test_a_look_for_what_a_burnt_key_made_is_not_begun_anew_when_the_row_is_given_back(stack: Stack) -> None:
    """The walk fails in the middle; the key is not sent again for it."""
    customers_of_others(stack, 3 * PAGE)
    stack.control.fault(
        "status", match={"path": "/v1/customers", "method": "POST"}, times=1, status=500, when="after", sticky=True
    )
    stack.control.fault("status", match={"path": "/v1/customers", "method": "GET"}, times=6, status=503)
    stack.start_worker()
    stack.publish(profile("ada", email=None))
    stack.await_completed("ada", timeout=40)
    stack.assert_exactly_one("ada")
    assert len([each for each in stack.requests("POST", "/v1/customers") if each["user_id"] == "ada"]) == 2


def stamps(stack: Stack, user_id: str) -> tuple[object, object]:
    row = stack.ledger(user_id)
    return row.get("customer_requested_at"), row.get("customer_last_requested_at")


def test_what_waits_for_a_permit_and_is_given_back_was_not_asked(stack: Stack) -> None:
    """The limiter lets nothing through within the lease, whose time runs out again and again."""
    worker = stack.start_worker(
        SUBKEEPER_STRIPE__ENDPOINT_REQUESTS_PER_SECOND="0.1",
        SUBKEEPER_SETTLE__LEASE="7",
        SUBKEEPER_STRIPE__REQUEST_TIMEOUT="2",
        SUBKEEPER_SETTLE__THREADS="3",
    )
    names = users(6)
    stack.publish(*[profile(name) for name in names])
    wait_until(lambda: stack.rows("SELECT 1 FROM provisionings WHERE attempts > 2"), timeout=40)
    worker.stop()
    sent = {each["user_id"] for each in stack.requests("POST", "/v1/customers")}
    for name in set(names) - sent:
        assert stamps(stack, name) == (None, None)

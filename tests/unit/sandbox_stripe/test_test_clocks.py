"""Test clocks: customers whose time stands still until it is advanced, and then all falls due at its own time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.sandbox_stripe.account import DAY, HOUR, START, Account, Refused

CLOCKS = "/v1/test_helpers/test_clocks"
FUTURE = START + 400 * DAY


def test_what_is_on_a_clock_lives_at_its_time(account: Account) -> None:
    clock = account.clock(FUTURE)
    customer = account.customer("pm_card_visa", test_clock=clock)
    subscription = account.subscribe(customer, trial_period_days=31)
    assert (subscription["test_clock"], subscription["created"]) == (clock, FUTURE)
    assert subscription["trial_end"] == FUTURE + 31 * DAY
    assert (
        account.get(f"/v1/customers/{customer}")["created"] == account.latest(subscription["id"])["created"] == FUTURE
    )
    account.wait(6 * DAY)
    assert account.post(f"/v1/customers/{customer}", name="A")["created"] == FUTURE
    assert account.subscribe(customer)["created"] == FUTURE


def test_what_is_on_a_clock_is_listed_only_for_it(account: Account) -> None:
    clock = account.clock()
    apart, usual = account.customer(email="a@b.co", test_clock=clock), account.customer(email="a@b.co")
    subscriptions = [account.subscribe(owner, account.price)["id"] for owner in (apart, usual)]

    def listed(kind: str, **where: str) -> list[str]:
        return [row["id"] for row in account.get(f"/v1/{kind}", **where)["data"]]

    assert listed("customers") == listed("customers", email="a@b.co") == [usual]
    assert listed("customers", test_clock=clock) == [apart]
    assert listed("subscriptions") == subscriptions[1:]
    assert listed("subscriptions", customer=apart) == listed("subscriptions", test_clock=clock) == subscriptions[:1]


def test_an_advance_takes_time_in_which_nothing_can_be_changed(account: Account) -> None:
    clock = account.clock()
    subscription = account.subscribe(account.customer("pm_card_visa", test_clock=clock), account.price)["id"]
    begun = account.post(f"{CLOCKS}/{clock}/advance", frozen_time=START + DAY)
    assert (begun["status"], begun["frozen_time"]) == ("advancing", START + DAY)
    assert begun["status_details"] == {"advancing": {"target_frozen_time": START + DAY}}
    assert account.get(f"{CLOCKS}/{clock}")["status"] == "advancing"
    for path in (f"/v1/subscriptions/{subscription}", f"{CLOCKS}/{clock}/advance"):
        with pytest.raises(Refused) as refusal:
            account.post(path, {"frozen_time": FUTURE} if "advance" in path else {"description": "x"})
        assert refusal.value.status == 429
        assert "Test clock advancement underway" in str(refusal.value)
    assert account.subscription(subscription)["description"] is None
    account.wait(1)
    ready = account.get(f"{CLOCKS}/{clock}")
    assert (ready["status"], ready["status_details"]) == ("ready", {})
    assert account.post(f"/v1/subscriptions/{subscription}", description="x")["description"] == "x"
    told = [kind.removeprefix("test_helpers.test_clock.") for kind in account.told() if "test_clock" in kind]
    assert told == ["created", "advancing", "ready"]


def test_a_payment_that_is_declined_leaves_no_trace_while_its_clock_advances(account: Account) -> None:
    clock = account.clock()
    customer = account.customer("pm_card_chargeCustomerFail", test_clock=clock)
    subscription = account.subscribe(customer)["id"]
    bill = account.latest(subscription)
    account.post(f"{CLOCKS}/{clock}/advance", frozen_time=START + HOUR)
    with pytest.raises(Refused) as refusal:
        account.post(f"/v1/invoices/{bill['id']}/pay")
    assert refusal.value.status == 429
    assert account.latest(subscription) == bill


def test_an_advance_does_each_thing_at_its_own_time_and_says_so_in_real_time(account: Account) -> None:
    clock = account.clock()
    customer = account.customer("pm_card_visa", test_clock=clock)
    subscription = account.subscribe(customer, trial_period_days=31)
    end = subscription["trial_end"]
    before = account.mark()
    account.advance(clock, end + 2 * HOUR)
    told = [event for event in account.events(before) if "test_clock" not in event["type"]]
    assert [event["type"] for event in told] == [
        "customer.subscription.trial_will_end",
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]
    assert {START <= event["created"] <= account.time for event in told} == {True}
    bill = account.latest(subscription["id"])
    assert (bill["created"], bill["status_transitions"]["paid_at"]) == (end, end + HOUR)
    assert bill["test_clock"] == clock
    assert account.subscription(subscription["id"])["items"]["data"][0]["current_period_start"] == end


def test_dunning_runs_on_the_clock(account: Account) -> None:
    clock = account.clock()
    customer = account.customer("pm_card_chargeCustomerFail", test_clock=clock)
    subscription = account.subscribe(customer, trial_period_days=5)
    account.advance(clock, subscription["trial_end"] + HOUR)
    assert account.subscription(subscription["id"])["status"] == "past_due"
    account.advance(clock, subscription["trial_end"] + HOUR + 15 * DAY)
    ended = account.subscription(subscription["id"])
    assert (ended["status"], ended["ended_at"]) == ("canceled", subscription["trial_end"] + HOUR + 15 * DAY)


@pytest.mark.parametrize(("interval", "days"), [(None, 730), ("week", 14), ("day", 2)])
def test_an_advance_goes_two_intervals_of_the_shortest_subscription_at_most(
    account: Account, interval: str | None, days: int
) -> None:
    clock = account.clock()
    if interval is not None:
        customer = account.customer(test_clock=clock)
        account.subscribe(customer, account.price)
        account.subscribe(customer, account.new_price(0, interval))
    for target in (START, START - 1, START + days * DAY + 1):
        with pytest.raises(Refused) as refusal:
            account.post(f"{CLOCKS}/{clock}/advance", frozen_time=target)
        assert refusal.value.error["param"] == "frozen_time"
    account.advance(clock, START + days * DAY)


def test_a_clock_takes_three_customers_of_three_subscriptions(account: Account) -> None:
    clock = account.clock()
    customer, *_ = [account.customer(test_clock=clock) for _ in range(3)]
    with pytest.raises(Refused) as refusal:
        account.customer(test_clock=clock)
    assert refusal.value.error["param"] == "test_clock"
    for _ in range(3):
        account.subscribe(customer, account.price)
    with pytest.raises(Refused):
        account.subscribe(customer, account.price)


def test_the_sandbox_lifts_the_limits_of_a_clock_by_a_flag() -> None:
    account = Account(unlimited_test_clocks=True).open()
    clock = account.clock()
    customer, *_ = [account.customer(test_clock=clock) for _ in range(4)]
    for _ in range(4):
        account.subscribe(customer, account.price)


def test_a_clock_goes_with_its_customers(account: Account) -> None:
    clock = account.clock(FUTURE)
    customer = account.customer("pm_card_visa", test_clock=clock)
    subscription = account.subscribe(customer)["id"]
    assert account.delete(f"{CLOCKS}/{clock}")["deleted"]
    assert account.get(f"/v1/customers/{customer}")["deleted"]
    assert account.subscription(subscription)["ended_at"] == FUTURE
    assert account.get(CLOCKS)["data"] == []
    with pytest.raises(Refused) as refusal:
        account.get(f"{CLOCKS}/{clock}")
    assert refusal.value.status == 404
    with pytest.raises(Refused):
        account.customer(test_clock=clock)


def test_a_forgotten_clock_is_deleted_by_itself(account: Account) -> None:
    clock = account.clock()
    customer = account.customer(test_clock=clock)
    account.time = account.get(f"{CLOCKS}/{clock}")["deletes_after"]
    assert account.get(f"/v1/customers/{customer}")["deleted"]


def test_a_card_is_detached_on_its_customer_s_clock(account: Account) -> None:
    """The clock is ahead: nothing that has happened there happens again."""
    clock = account.clock()
    customer = account.customer("pm_card_visa", test_clock=clock)
    method = account.get(f"/v1/customers/{customer}/payment_methods")["data"][0]["id"]
    subscription = account.subscribe(customer, trial_period_days=31, default_payment_method=method)
    account.advance(clock, subscription["trial_end"] - DAY)
    account.post(f"/v1/payment_methods/{method}/detach")
    account.advance(clock, subscription["trial_end"])
    assert account.told().count("customer.subscription.trial_will_end") == 1


def test_an_advance_outlives_a_kill_and_repeats_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    account = Account(state).open()
    clock = account.clock()
    subscription = account.subscribe(account.customer("pm_card_visa", test_clock=clock), trial_period_days=31)
    account.advance(clock, subscription["trial_end"] - 2 * DAY)
    account.post(f"{CLOCKS}/{clock}/advance", frozen_time=subscription["trial_end"] + HOUR)
    account.get(f"{CLOCKS}/{clock}")
    told = account.service.ledger.tables["event"].count()
    again = Account(state)
    assert again.service.ledger.tables["event"].count() == told
    again.get("/v1/account")
    again.wait(1)
    assert again.get(f"{CLOCKS}/{clock}")["status"] == "ready"
    assert again.subscription(subscription["id"])["status"] == "active"
    assert again.service.ledger.tables["event"].count() == told + 1

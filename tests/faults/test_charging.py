"""Our tries raced against Stripe's own retry, on a test clock: an invoice is paid once, always."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.accounts.conftest import DEPLOYMENT
from tests.integration.events.test_charging import FAILED, FAILS, PAYS, cards, hear_failures, invoice, is_done, tries
from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.domain import charging
from worker.events.charge_leases import ChargeLeases
from worker.stripe_api.charge_calls import ChargeCalls

CLOCKS, DAY = "/v1/test_helpers/test_clocks", 86_400


@pytest.fixture
def stack(new_stack: NewStack) -> Stack:
    """Ann has signed up on a test clock, and owes what her default card doesn't pay; the next one would."""
    first = new_stack()
    first.prepare()
    clock = first.call_stripe("POST", CLOCKS, frozen_time=str(int(time.time())))["id"]
    environ: dict[str, Any] = {
        **DEPLOYMENT,
        "SUBKEEPER_STRIPE__TEST_CLOCK": clock,
        "SUBKEEPER_CHARGING__IN_ORDER": "true",
    }
    topics = (first.topic, first.backfill_topic, first.events_topic)
    stack = new_stack(stripe=first.stripe, topics=topics, **environ)
    stack.setup()
    worker = stack.start_worker("profiles")
    stack.publish(profile("ann"))
    stack.await_completed("ann")
    worker.stop()
    return stack


def owing(stack: Stack, *others: str) -> tuple[str, list[str]]:
    """The invoice, and the cards in their order, the one that was declined first."""
    known = cards(stack, FAILS, *others)
    path = f"/v1/subscriptions/{stack.ledger('ann')['stripe_subscription_id']}"
    item = stack.call_stripe("GET", path)["items"]["data"][0]["id"]
    price = stack.call_stripe("GET", "/v1/prices?lookup_keys[]=pro")["data"][0]["id"]
    form = {"items[0][id]": item, "items[0][price]": price, "default_payment_method": known[0], "trial_end": "now"}
    return str(stack.call_stripe("POST", path, **form)["latest_invoice"]), known


def advance(stack: Stack, seconds: float) -> None:
    """The clock of Stripe's own retries, which are made meanwhile."""
    path = f"{CLOCKS}/{stack.environ['SUBKEEPER_STRIPE__TEST_CLOCK']}"
    target = stack.call_stripe("GET", path)["frozen_time"] + round(seconds)
    stack.call_stripe("POST", f"{path}/advance", frozen_time=str(target))
    wait_until(lambda: stack.call_stripe("GET", path)["status"] == "ready", 20)


def is_paid_once(stack: Stack, owed: str) -> None:
    assert invoice(stack, owed)["status"] == "paid"
    assert len(stack.events("payment_intent.succeeded")) == 1
    paid = [each for each in stack.events("invoice.paid") if each["data"]["object"]["id"] == owed]
    assert len(paid) == 1
    declined = [each["data"]["object"] for each in stack.events(FAILED)]
    assert len({each["id"] for each in declined}) == 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Our first request to be paid has come as far as being sent; and may be."""
    reached, goes = threading.Event(), threading.Event()
    pay = ChargeCalls.pay

    def held(self: ChargeCalls, *given: Any, **sent: Any) -> str:
        reached.set()
        assert goes.wait(60)
        return pay(self, *given, **sent)

    with ExitStack() as ending:
        ending.callback(goes.set)
        monkeypatch.setattr(ChargeCalls, "pay", held)
        yield reached, goes


def test_a_try_that_is_late_and_stripes_own_retry_that_pays_make_one_payment(
    stack: Stack, gate: tuple[threading.Event, threading.Event]
) -> None:
    """Between our look and our request days pass, and Stripe's own retry finds a card that pays."""
    reached, goes = gate
    owed, known = owing(stack, PAYS)
    path = f"/v1/subscriptions/{stack.ledger('ann')['stripe_subscription_id']}"
    stack.start_worker("events")
    hear_failures(stack)
    assert reached.wait(30)
    stack.call_stripe("POST", path, default_payment_method=known[1])
    advance(stack, 3 * DAY + 3600)
    assert invoice(stack, owed)["status"] == "paid"
    goes.set()
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    assert tries(stack)[-1] == (known[1], 1, True, "paid")
    is_paid_once(stack, owed)


def test_a_try_that_is_late_and_stripes_own_retry_that_is_declined_make_one_payment(
    stack: Stack, gate: tuple[threading.Event, threading.Event]
) -> None:
    reached, goes = gate
    owed, _ = owing(stack, FAILS, PAYS)
    stack.start_worker("events")
    hear_failures(stack)
    assert reached.wait(30)
    advance(stack, 3 * DAY + 3600)
    assert invoice(stack, owed)["attempt_count"] == 2
    goes.set()
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and invoice(stack, owed)["status"] == "paid", 30)
    is_paid_once(stack, owed)


@pytest.mark.parametrize("margin", [None, 0], ids=["as it is", "without the ten minutes"])
def test_tries_at_the_very_time_of_stripes_own_retry_make_one_payment(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, margin: int | None
) -> None:
    """With the margin, nothing is sent then; without it, Stripe's own order of the two decides."""
    if margin is not None:
        monkeypatch.setattr(charging, "MARGIN", charging.MARGIN * 0)
    owed, known = owing(stack, PAYS, "pm_card_mastercard")
    path = f"/v1/subscriptions/{stack.ledger('ann')['stripe_subscription_id']}"
    stack.call_stripe("POST", path, default_payment_method=known[2])
    advance(stack, 3 * DAY - 120)
    racing = threading.Thread(target=advance, args=(stack, 240))
    stack.start_worker("events")
    racing.start()
    hear_failures(stack)
    racing.join()
    hear_failures(stack)
    wait_until(lambda: invoice(stack, owed)["status"] == "paid", 30)
    wait_until(lambda: is_done(stack), 30)
    is_paid_once(stack, owed)


def test_two_processes_that_race_for_an_invoice_make_one_payment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one's lease runs out while its request is on its way; the other one asks under the same key."""
    owed, known = owing(stack, PAYS)
    answered, is_first = ChargeLeases.answered, threading.Event()

    def slow(self: ChargeLeases, *given: Any) -> None:
        if not is_first.is_set():
            is_first.set()
            stack.rows("UPDATE failing_invoices SET due_at = now(), lease_until = now()")
            wait_until(lambda: tries(stack)[-1][-1] is not None, 30, "the other one has its answer")
        answered(self, *given)

    monkeypatch.setattr(ChargeLeases, "answered", slow)
    for _ in range(2):
        wait_until(stack.start_worker("events").is_ready)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    assert tries(stack)[-1] == (known[1], 1, True, "paid")
    keys = {each["idempotency_key"] for each in stack.requests("POST", f"/v1/invoices/{owed}/pay")}
    assert len(keys) == 1
    is_paid_once(stack, owed)

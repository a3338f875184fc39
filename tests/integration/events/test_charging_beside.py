"""Charging in order beside what else goes on: fetches, suspensions, removals and erasures, and being turned off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing as closing_it
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.accounts.conftest import DEPLOYMENT
from tests.integration.events.test_charging import (
    DAY,
    FAILED,
    FAILS,
    PAYS,
    asked,
    cards,
    hear_failures,
    invoice,
    is_done,
    is_paid_once,
    keys,
    owes,
    stack,
    start,
    tries,
    unresolved,
)
from tests.integration.provisioning.conftest import closing, new_stack, quick_probes
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.domain.charging import InvoiceNow
from worker.events import charge_leases, charging
from worker.events.charge_leases import ChargeLeases, Known
from worker.store import subscriptions
from worker.store.engine.database import Database, Transaction
from worker.stripe_api.charge_calls import ChargeCalls
from worker.stripe_api.errors import AnswerIncomplete

__all__ = ["DEPLOYMENT", "closing", "new_stack", "quick_probes", "stack"]

OFF = {"SUBKEEPER_CHARGING__IN_ORDER": "false"}


def without_row(stack: Stack) -> str:
    """Ann's subscription has no row here any more; its id."""
    (row,) = stack.rows("DELETE FROM billing_subscriptions RETURNING stripe_subscription_id")
    return str(row["stripe_subscription_id"])


def is_there(stack: Stack) -> bool:
    return bool(stack.rows("SELECT 1 FROM billing_subscriptions")) and not stack.rows(
        "SELECT 1 FROM subscription_refreshes"
    )


def test_an_invoice_whose_subscription_is_being_fetched_is_not_left(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetch makes the row after we have looked for that, and before we ask whether there is a fetch."""
    read = subscriptions.read

    def slow(tx: Transaction, ids: list[str]) -> Any:
        found = read(tx, ids)
        if not found:
            wait_until(lambda: is_there(stack), 20, "it was fetched")
        return found

    monkeypatch.setattr(charge_leases, "subscriptions", SimpleNamespace(read=slow))
    monkeypatch.setattr(charging, "COMING", timedelta(seconds=0.2))
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    without_row(stack)
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and stack.rows("SELECT 1 FROM billing_subscriptions"), 30)
    assert asked(stack, owed) == [good]
    is_paid_once(stack, owed)


def test_an_invoice_that_waits_for_its_subscription_says_so(stack: Stack) -> None:
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    identifier = without_row(stack)
    stack.control.fault("status", match={"path": f"/v1/subscriptions/{identifier}", "method": "GET"}, status=503)
    with capture_logs() as logged:
        worker = start(stack)
        hear_failures(stack)
        wait_until(lambda: worker.metric("subkeeper_charge_seconds_count", outcome="waiting") >= 1, 20)
    waited = [each for each in logged if each["event"] == "charge.waited"]
    assert [(each["stripe_invoice_id"], each["reason"]) for each in waited] == [(owed, "subscription_to_be_fetched")]
    assert asked(stack, owed) == []


def test_an_invoice_of_no_subscription_is_not_looked_at(stack: Stack) -> None:
    """An account has others: each look is a read of the month's."""
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    (told,) = stack.events(FAILED)
    bare = {**told["data"]["object"], "parent": None}
    start(stack)
    stack.hear({**told, "data": {"object": bare}})
    stack.await_heard(told)
    assert (is_done(stack), stack.requests("GET", f"/v1/invoices/{owed}")) == (True, [])


def test_a_card_that_stripe_refuses_as_such_is_passed_over(stack: Stack) -> None:
    """As it can't be charged for this, whatever the reason: that says nothing of the next one."""
    failing, odd, good = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    match = {"path": f"/v1/invoices/{owed}/pay", "method": "POST"}
    stack.control.fault("status", match=match, status=400, param="payment_method", times=1)
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack)[1:] == [(odd, 1, True, "declined"), (good, 1, True, "paid")]
    is_paid_once(stack, owed)


def test_a_key_that_stripe_refuses_for_everything_halts_it_and_blames_no_invoice(stack: Stack) -> None:
    worker = start(stack)
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("status", match={"path": "/v1/invoices/"}, status=401)
    hear_failures(stack)
    wait_until(lambda: not worker.part("charging")[0], 20)
    assert "STRIPE_SECRET_KEY" in worker.part("charging")[1]
    later = "UPDATE failing_invoices SET due_at = now() + interval '1 hour' WHERE lease_until IS NULL RETURNING 1"
    wait_until(lambda: stack.rows(later), 20, "nobody is at it")
    (mark,) = stack.rows("SELECT attempts, last_error FROM failing_invoices")
    assert (mark, tries(stack)) == ({"attempts": 0, "last_error": None}, [])
    stack.control.clear_faults()
    stack.rows("UPDATE failing_invoices SET due_at = now()")
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    assert asked(stack, owed) == [good]
    is_paid_once(stack, owed)


def test_an_invoice_that_stripe_refuses_to_show_is_not_taken_for_one_that_is_gone(stack: Stack) -> None:
    worker = start(stack)
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("status", match={"path": f"/v1/invoices/{owed}", "method": "GET"}, status=400, times=2)
    hear_failures(stack)
    wait_until(lambda: worker.metric("subkeeper_charge_seconds_count", outcome="halted") >= 1, 20)
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    assert asked(stack, owed) == [good]
    is_paid_once(stack, owed)


def test_around_stripes_own_attempt_what_has_no_answer_waits_too(stack: Stack) -> None:
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, good, "1 minute")
    stack.control.jump(3 * DAY - 300)
    worker = start(stack)
    wait_until(lambda: worker.metric("subkeeper_charge_seconds_count", outcome="waiting") >= 1, 20)
    assert (asked(stack, owed), tries(stack)[1:]) == ([], [(good, 1, True, None)])


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (ZeroDivisionError(), "crashed", [("charge.crashed", "critical"), ("charge.postponed", "warning")]),
        (AnswerIncomplete("invoice lacks status"), "postponed", [("charge.postponed", "warning")]),
    ],
)
def test_what_nobody_foresaw_is_told_and_tried_again_later(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str, said: list[tuple[str, str]]
) -> None:
    retrieve, crashed = ChargeCalls.invoice, list[object]()

    def once(self: ChargeCalls, *given: Any, **sent: Any) -> InvoiceNow:
        if not crashed:
            crashed.append(given)
            raise error
        return retrieve(self, *given, **sent)

    monkeypatch.setattr(ChargeCalls, "invoice", once)
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    with capture_logs() as logged:
        worker = start(stack)
        hear_failures(stack)
        wait_until(lambda: is_done(stack) and tries(stack), 30)
    assert worker.metric("subkeeper_charge_seconds_count", outcome=outcome) == 1
    told = [
        (each["event"], each["log_level"]) for each in logged if each["event"] in {"charge.crashed", "charge.postponed"}
    ]
    assert told == said
    assert asked(stack, owed) == [good]


def meanwhile(monkeypatch: pytest.MonkeyPatch, card: str, act: Callable[[], object]) -> None:
    """Done between our look and our request with that card."""
    pay = ChargeCalls.pay

    def late(self: ChargeCalls, invoice_id: str, payment_method: str, **sent: Any) -> str:
        if payment_method == card:
            act()
        return pay(self, invoice_id, payment_method, **sent)

    monkeypatch.setattr(ChargeCalls, "pay", late)


def test_what_is_void_between_the_look_and_the_try_is_let_be(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    failing, good, _other = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    meanwhile(monkeypatch, good, lambda: stack.call_stripe("POST", f"/v1/invoices/{owed}/void"))
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack)[1:] == [(good, 1, True, "overtaken")]
    assert asked(stack, owed) == [good]


def test_an_order_that_changes_while_a_card_is_tried_holds_from_the_next_one_on(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, second, third, last = cards(stack, FAILS, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    turned = "UPDATE payment_methods SET priority = 9 WHERE stripe_payment_method_id = %s"
    meanwhile(monkeypatch, second, lambda: stack.rows(turned, third))
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert asked(stack, owed) == [second, last]
    is_paid_once(stack, owed)


def test_a_card_that_is_known_to_be_gone_is_not_asked_for(stack: Stack) -> None:
    failing, gone = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.rows("UPDATE payment_methods SET priority = NULL WHERE stripe_payment_method_id = %s", gone)
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert (asked(stack, owed), tries(stack)) == ([], [])


def test_a_subscription_that_is_not_the_users_present_one_is_charged_while_it_lives(stack: Stack) -> None:
    """As by Stripe: what is owed for it is owed."""
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.rows("UPDATE provisionings SET stripe_subscription_id = 'sub_later'")
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert asked(stack, owed) == [good]
    is_paid_once(stack, owed)


# Who leaves


def test_a_try_that_came_to_nothing_is_not_made_anew_for_who_is_being_erased(stack: Stack) -> None:
    """A day later nothing is known of it at Stripe: it ends there, and the erasure goes on."""
    failing, good, _other = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, good)
    stack.rows("UPDATE provisionings SET state = 'erasing'")
    start(stack)
    wait_until(lambda: is_done(stack), 20)
    assert (asked(stack, owed), tries(stack)[1:]) == ([], [(good, 1, True, "overtaken")])


def test_a_key_that_is_burnt_is_not_renewed_for_who_is_being_erased(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They asked for it while the first request was on its way."""
    renew = ChargeLeases.renew

    def overtaken(leases: ChargeLeases, *given: Any) -> Any:
        stack.rows("UPDATE provisionings SET state = 'erasing'")
        return renew(leases, *given)

    monkeypatch.setattr(ChargeLeases, "renew", overtaken)
    failing, good, _other = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("status", match={"path": f"/v1/invoices/{owed}/pay", "method": "POST"}, times=1, status=500)
    start(stack, SUBKEEPER_SETTLE__LEASE="10")
    hear_failures(stack)
    wait_until(lambda: stack.ledger("ann")["state"] == "erasing", 20)
    wait_until(lambda: is_done(stack), 40)
    assert len(set(keys(stack, owed))) == 1
    assert tries(stack)[-1] == (good, 1, True, "overtaken")


REMOVAL = """
    INSERT INTO account_changes (id, kind, user_id, caller, digest, steps, wanted, attempts, due_at)
    VALUES (gen_random_uuid(), 'delete', 'ann', 'test', '', '{remove}', '{}', 1, now() + interval '1 hour')
"""


def test_who_is_to_lose_their_subscription_is_charged_no_more(stack: Stack) -> None:
    """An admin has asked for that, and Stripe isn't reached."""
    start(stack)
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.rows(REMOVAL)
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert (asked(stack, owed), tries(stack)) == ([], [])


def test_a_try_that_a_removal_has_overtaken_is_not_begun(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ChargeLeases.known

    def overtaken(leases: ChargeLeases, invoice: InvoiceNow) -> Known:
        found = known(leases, invoice)
        if found.is_ours:
            stack.rows(REMOVAL)
        return found

    monkeypatch.setattr(ChargeLeases, "known", overtaken)
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    start(stack, SUBKEEPER_SETTLE__LEASE="10")
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and stack.rows("SELECT 1 FROM account_changes"), 40)
    assert (asked(stack, owed), tries(stack)) == ([], [])


# Turned off


@pytest.mark.parametrize("happened", ["paid", "declined", "nothing"])
def test_turned_off_a_try_without_an_answer_ends_by_what_its_payments_say(stack: Stack, happened: str) -> None:
    """Nothing is sent any more; what was has had its time."""
    failing, other, _good = cards(stack, FAILS, PAYS if happened == "paid" else FAILS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, other, "30 minutes")
    if happened != "nothing":
        stack.ask_stripe("POST", f"/v1/invoices/{owed}/pay", payment_method=other)
    before = len(asked(stack, owed))
    stack.rows(
        "INSERT INTO failing_invoices (stripe_invoice_id, due_at) VALUES (%s, now() - interval '21 minutes')", owed
    )
    start(stack, **OFF)
    wait_until(lambda: is_done(stack), 20)
    assert len(asked(stack, owed)) == before
    outcome = {"nothing": "overtaken"}.get(happened, happened)
    assert tries(stack)[1:] == [(other, 1, True, outcome)]


def test_turned_off_what_may_be_under_way_yet_and_what_was_not_tried_is_left_alone(stack: Stack) -> None:
    """Another process may have charging turned on still."""
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, good, "30 minutes")
    stack.rows(
        """
        INSERT INTO failing_invoices (stripe_invoice_id, due_at)
        VALUES (%s, now() - interval '19 minutes'), ('in_untried', now() - interval '1 day')
        """,
        owed,
    )
    worker = start(stack, **OFF)
    wait_until(lambda: worker.part("charging")[0], 20)
    with closing_it(Database(stack.settings().database)) as database:
        leases = ChargeLeases(database, length=timedelta(seconds=20), in_order=False)
        assert leases.lease_due(9) == []
        assert tries(stack)[1:] == [(good, 1, True, None)]
        stack.rows("UPDATE failing_invoices SET due_at = due_at - interval '2 minutes'")
        (lease,) = leases.lease_due(9)
        assert (lease.invoice.id, leases.lease_due(9)) == (owed, [])
        leases.give_back(lease)
        assert [each.invoice.id for each in leases.lease_due(9)] == [owed], "at once"


def test_a_try_whose_mark_is_gone_gets_one_again(stack: Stack) -> None:
    """Somebody has deleted it: without it nobody would ask what came of the try, and an erasure would wait for ever."""
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, good, "1 minute")
    start(stack)
    wait_until(lambda: is_done(stack), 20)
    assert tries(stack)[1:] == [(good, 1, True, "paid")]
    assert invoice(stack, owed)["status"] == "paid"

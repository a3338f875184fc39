"""An invoice whose payment is declined is tried with the user's next card in order, once each, and paid once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from tests.integration.accounts.conftest import DEPLOYMENT, signed_up
from tests.integration.events.test_payable import add_card, customer_of
from tests.integration.provisioning.conftest import NewStack, closing, new_stack, quick_probes
from tests.support.commands import Commands
from tests.support.stack import Stack, Worker
from tests.support.waiting import wait_until
from worker.domain.charging import InvoiceNow
from worker.events.charge_leases import ChargeLeases, Known
from worker.runtime import watch
from worker.stripe_api.charge_calls import ChargeCalls

__all__ = ["closing", "new_stack", "quick_probes"]

FAILED, FAILS, ASKS, PAYS = (
    "invoice.payment_failed",
    "pm_card_chargeCustomerFail",
    "pm_card_authenticationRequired",
    "pm_card_visa",
)
DAY = 86_400


@pytest.fixture
def stack(new_stack: NewStack, quick_probes: None) -> Stack:
    """Ann has signed up, and charging in order is on."""
    stack = new_stack(**cast("dict[str, Any]", {**DEPLOYMENT, "SUBKEEPER_CHARGING__IN_ORDER": "true"}))
    stack.prepare()
    signed_up(stack, "ann")
    return stack


def start(stack: Stack, **environ: str) -> Worker:
    worker = stack.start_worker("events", **environ)
    wait_until(worker.is_ready)
    return worker


def cards(stack: Stack, *names: str) -> list[str]:
    """Ann's at Stripe, and here in this order."""
    found = [add_card(stack, customer_of(stack, "ann"), name) for name in names]
    stack.rows(
        """
        INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)
        SELECT c.id, new.id, new.priority FROM billing_customers c,
            unnest(%s::text[]) WITH ORDINALITY AS new (id, priority)
        """,
        found,
    )
    return found


def owes(stack: Stack, card: str) -> str:
    """The trial is over, and that card is declined; the invoice."""
    path = f"/v1/subscriptions/{stack.ledger('ann')['stripe_subscription_id']}"
    item = stack.call_stripe("GET", path)["items"]["data"][0]["id"]
    price = stack.call_stripe("GET", "/v1/prices?lookup_keys[]=pro")["data"][0]["id"]
    form = {"items[0][id]": item, "items[0][price]": price, "default_payment_method": card, "trial_end": "now"}
    made = stack.call_stripe("POST", path, **form)
    assert made["status"] == "past_due"
    return str(made["latest_invoice"])


def hear_failures(stack: Stack) -> None:
    """All that Stripe has told of failed payments, each for the first time or once more."""
    told = stack.events(FAILED)
    stack.hear(*told)
    stack.await_heard(*told)


def invoice(stack: Stack, identifier: str) -> dict[str, Any]:
    return stack.call_stripe("GET", f"/v1/invoices/{identifier}")


def tries(stack: Stack) -> list[tuple[str, int, bool, str | None]]:
    """The card, at which attempt, whether by us, and what it came to."""
    query = "SELECT stripe_payment_method_id AS id, attempt_count, is_ours, outcome FROM charge_tries t ORDER BY t.id"
    return [(each["id"], each["attempt_count"], each["is_ours"], each["outcome"]) for each in stack.rows(query)]


def asked(stack: Stack, identifier: str) -> list[str]:
    """The cards with which Stripe was asked to be paid, in order."""
    return [each["params"]["payment_method"] for each in stack.requests("POST", f"/v1/invoices/{identifier}/pay")]


def keys(stack: Stack, identifier: str) -> list[str | None]:
    return [each["idempotency_key"] for each in stack.requests("POST", f"/v1/invoices/{identifier}/pay")]


def is_done(stack: Stack) -> bool:
    """Nothing is left to be looked at, nor without an answer."""
    return not stack.rows("SELECT 1 FROM failing_invoices UNION ALL SELECT 1 FROM charge_tries WHERE outcome IS NULL")


def is_paid_once(stack: Stack, identifier: str) -> None:
    assert invoice(stack, identifier)["status"] == "paid"
    paid = [each for each in stack.events("payment_intent.succeeded") if each["data"]["object"]["amount"] == 900]
    assert len(paid) == len(stack.events("invoice.paid")) - 1 == 1, "beside the trial's, of 0"


def test_the_next_card_in_order_is_tried_and_pays(stack: Stack) -> None:
    worker = start(stack)
    failing, good, _unneeded = cards(stack, FAILS, PAYS, "pm_card_mastercard")
    owed = owes(stack, failing)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack) == [(failing, 1, False, "declined"), (good, 1, True, "paid")]
    assert asked(stack, owed) == [good]
    is_paid_once(stack, owed)
    assert worker.metric("subkeeper_charge_seconds_count", outcome="paid") == 1
    assert worker.part("charging")[0]


def test_each_card_is_tried_once_until_one_pays(stack: Stack) -> None:
    start(stack)
    first, second, third, good = cards(stack, FAILS, FAILS, FAILS, PAYS)
    owed = owes(stack, second)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert [(card, outcome) for card, _, ours, outcome in tries(stack) if ours] == [
        (first, "declined"), (third, "declined"), (good, "paid"),
    ]  # fmt: skip
    assert asked(stack, owed) == [first, third, good]
    is_paid_once(stack, owed)


def test_where_no_card_is_left_stripes_next_attempt_begins_a_new_round(stack: Stack) -> None:
    start(stack)
    first, second = cards(stack, FAILS, FAILS)
    owed = owes(stack, first)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    hear_failures(stack)  # our own try's, too
    wait_until(lambda: is_done(stack), 20)
    assert asked(stack, owed) == [second]
    good = add_card(stack, customer_of(stack, "ann"))
    stack.rows("UPDATE payment_methods SET stripe_payment_method_id = %s WHERE priority = 2", good)
    stack.control.jump(3 * DAY + 60)
    wait_until(lambda: invoice(stack, owed)["attempt_count"] == 2, 20)
    stack.control.jump(1200)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and invoice(stack, owed)["status"] == "paid", 20)
    assert tries(stack)[-2:] == [(first, 2, False, "declined"), (good, 2, True, "paid")]
    is_paid_once(stack, owed)


def test_a_card_that_was_declined_is_tried_again_in_the_next_round(stack: Stack) -> None:
    """Days later it may be good, as Stripe's own default may be."""
    start(stack)
    first, second = cards(stack, FAILS, FAILS)
    owed = owes(stack, first)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    stack.control.jump(3 * DAY + 60)
    wait_until(lambda: invoice(stack, owed)["attempt_count"] == 2, 20)
    stack.control.jump(1200)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and len(tries(stack)) == 4, 20)
    assert [(card, count) for card, count, ours, _ in tries(stack) if ours] == [(second, 1), (second, 2)]
    assert asked(stack, owed) == [second, second]
    assert len(set(keys(stack, owed))) == 2


def test_a_card_that_asks_for_its_owner_ends_it(stack: Stack) -> None:
    """Another card doesn't cure that: the payer is asked."""
    worker = start(stack)
    failing, asks, _good = cards(stack, FAILS, ASKS, PAYS)
    owed = owes(stack, failing)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert asked(stack, owed) == [asks]
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert (asked(stack, owed), invoice(stack, owed)["status"]) == ([asks], "open")
    assert worker.metric("subkeeper_charge_seconds_count", outcome="left") >= 1


def test_unless_it_is_configured_nothing_is_tried_or_kept(stack: Stack) -> None:
    worker = start(stack, SUBKEEPER_CHARGING__IN_ORDER="false")
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    hear_failures(stack)
    assert stack.rows("SELECT 1 FROM failing_invoices UNION ALL SELECT 1 FROM charge_tries") == []
    assert asked(stack, owed) == []
    assert worker.metric("subkeeper_charge_seconds_count", outcome="left") == 0


def test_an_invoice_of_nobody_of_ours_is_not_looked_at(stack: Stack) -> None:
    start(stack)
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.rows("DELETE FROM billing_subscriptions")
    stack.rows("DELETE FROM payment_methods")
    stack.rows("DELETE FROM billing_customers")
    stack.rows("DELETE FROM provisionings")
    hear_failures(stack)
    assert (is_done(stack), asked(stack, owed)) == (True, [])


@pytest.mark.parametrize("second", [PAYS, FAILS], ids=["paid", "declined"])
def test_an_answer_that_is_lost_is_asked_for_under_the_same_key(stack: Stack, second: str) -> None:
    """A decline from memory is that decline, and only then the next card is tried."""
    failing, other, good = cards(stack, FAILS, second, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("drop", match={"path": f"/v1/invoices/{owed}/pay", "method": "POST"}, times=3, when="after")
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    is_paid_once(stack, owed)
    sent = asked(stack, owed)
    assert sent == [other] * 4 + [good] * (second == FAILS)
    assert len(set(keys(stack, owed))) == len(set(sent))
    declines = [each for each in stack.events(FAILED) if each["data"]["object"]["id"] == owed]
    assert len(declines) == 1 + (second == FAILS), "each card was charged once"


def test_a_failure_that_stripe_keeps_under_a_key_is_followed_by_a_look_and_the_next_generation(stack: Stack) -> None:
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("status", match={"path": f"/v1/invoices/{owed}/pay", "method": "POST"}, times=1, status=500)
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 30)
    is_paid_once(stack, owed)
    assert set(asked(stack, owed)) == {good}
    (row,) = stack.rows("SELECT generation FROM charge_tries WHERE is_ours")
    assert (row["generation"], len(set(keys(stack, owed)))) == (2, 2)


def unresolved(stack: Stack, owed: str, failing: str, card: str, age: str = "24 hours") -> None:
    """A try with `card` that was sent so long ago, of which nobody knows what came of it."""
    for each, is_ours in ((failing, False), (card, True)):
        stack.rows(
            """
            INSERT INTO charge_tries (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id,
                is_ours, asked_at, outcome, ended_at)
            SELECT %s, 1, %s, %s, ours, now() - %s::interval, CASE WHEN NOT ours THEN 'declined' END,
                CASE WHEN NOT ours THEN now() END
            FROM (VALUES (%s::boolean)) AS by (ours)
            """,
            owed,
            each,
            customer_of(stack, "ann"),
            age,
            is_ours,
        )


@pytest.mark.parametrize("happened", ["declined", "never"])
def test_after_a_day_the_payments_tell_what_a_try_has_come_to(stack: Stack, happened: str) -> None:
    failing, other, good = cards(stack, FAILS, FAILS if happened == "declined" else PAYS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, other)
    if happened == "declined":
        stack.ask_stripe("POST", f"/v1/invoices/{owed}/pay", payment_method=other)
    before = len(asked(stack, owed))
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert asked(stack, owed)[before:] == [good if happened == "declined" else other]
    is_paid_once(stack, owed)
    (row,) = stack.rows("SELECT outcome, generation FROM charge_tries WHERE stripe_payment_method_id = %s", other)
    assert row == (
        {"outcome": "declined", "generation": 1} if happened == "declined" else {"outcome": "paid", "generation": 2}
    )


def test_after_a_day_and_an_attempt_of_stripes_the_next_round_begins_at_once(stack: Stack) -> None:
    """The try came to nothing, or to what doesn't matter any more; no other event tells of the invoice."""
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, good)
    stack.control.jump(3 * DAY + 60)
    wait_until(lambda: invoice(stack, owed)["attempt_count"] == 2, 20)
    stack.control.jump(1200)
    start(stack)
    wait_until(lambda: is_done(stack), 20)
    assert tries(stack)[1:] == [
        (good, 1, True, "overtaken"), (failing, 2, False, "declined"), (good, 2, True, "paid"),
    ]  # fmt: skip
    is_paid_once(stack, owed)


@pytest.mark.parametrize("end", ["pay", "void"])
def test_a_try_without_an_answer_ends_with_its_invoice(stack: Stack, end: str) -> None:
    failing, good, elsewhere = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    unresolved(stack, owed, failing, good, "1 minute")
    stack.call_stripe("POST", f"/v1/invoices/{owed}/{end}", **({"payment_method": elsewhere} if end == "pay" else {}))
    before = len(asked(stack, owed))
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert len(asked(stack, owed)) == before
    assert tries(stack)[1:] == [(good, 1, True, "paid" if end == "pay" else "overtaken")]


def test_what_is_paid_between_the_look_and_the_try_is_success(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    failing, good, elsewhere = cards(stack, FAILS, PAYS, "pm_card_mastercard")
    owed, pay = owes(stack, failing), ChargeCalls.pay

    def late(self: ChargeCalls, invoice_id: str, payment_method: str, **sent: Any) -> str:
        stack.ask_stripe("POST", f"/v1/invoices/{owed}/pay", payment_method=elsewhere)
        return pay(self, invoice_id, payment_method, **sent)

    monkeypatch.setattr(ChargeCalls, "pay", late)
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack)[-1] == (good, 1, True, "paid")
    is_paid_once(stack, owed)


def test_a_card_that_is_taken_away_meanwhile_is_passed_over(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    failing, gone, good = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    stack.call_stripe("POST", f"/v1/payment_methods/{gone}/detach")
    start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack)[-2:] == [(gone, 1, True, "declined"), (good, 1, True, "paid")]
    is_paid_once(stack, owed)


def test_what_stripe_refuses_whatever_the_card_ends_it(stack: Stack) -> None:
    worker = start(stack)
    failing, good, _other = cards(stack, FAILS, PAYS, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("status", match={"path": f"/v1/invoices/{owed}/pay", "method": "POST"}, status=400)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack)[-1] == (good, 1, True, "refused")
    assert (set(asked(stack, owed)), worker.part("charging")[0]) == ({good}, True)


def test_a_key_that_may_not_charge_halts_that_alone_and_says_so(stack: Stack) -> None:
    worker = start(stack)
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.control.fault("status", match={"path": f"/v1/invoices/{owed}/pay", "method": "POST"}, status=403)
    hear_failures(stack)
    wait_until(lambda: not worker.part("charging")[0], 20)
    assert "STRIPE_SECRET_KEY" in worker.part("charging")[1]
    assert worker.part("stripe_events")[0]
    assert tries(stack)[-1] == (good, 1, True, None)
    stack.control.clear_faults()
    wait_until(lambda: is_done(stack), 30)
    is_paid_once(stack, owed)
    assert len(set(keys(stack, owed))) == 1
    wait_until(lambda: worker.part("charging")[0], 20)


def test_one_invoices_trouble_holds_up_only_that_one(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_INTERVAL", 0.1)
    worker = start(stack)
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.rows("INSERT INTO failing_invoices (stripe_invoice_id) VALUES ('in_away'), ('in_that_is_not_there')")
    stack.control.fault("status", match={"path": "/v1/invoices/in_away"}, status=503)
    hear_failures(stack)
    wait_until(lambda: invoice(stack, owed)["status"] == "paid", 20)
    (left,) = wait_until_rows(stack, "in_away")
    assert "503" in left["last_error"]
    wait_until(lambda: worker.metric("subkeeper_charges_waiting") == 1)
    assert worker.metric("subkeeper_charges_oldest_age_seconds") > 0


def wait_until_rows(stack: Stack, identifier: str) -> list[dict[str, Any]]:
    query = "SELECT stripe_invoice_id, last_error FROM failing_invoices"
    wait_until(lambda: [each["stripe_invoice_id"] for each in stack.rows(query)] == [identifier], 20)
    wait_until(lambda: stack.rows(query)[0]["last_error"] is not None, 20)
    return stack.rows(query)


def test_around_stripes_own_attempt_an_invoice_waits(stack: Stack) -> None:
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.control.jump(3 * DAY - 300)
    worker = start(stack)
    hear_failures(stack)
    wait_until(lambda: worker.metric("subkeeper_charge_seconds_count", outcome="waiting") >= 1, 20)
    assert (asked(stack, owed), tries(stack)) == ([], [])
    (row,) = stack.rows("""
        SELECT due_at > now() + interval '8 minutes' AND due_at <= now() + interval '10 minutes' AS is_later
        FROM failing_invoices
    """)
    assert row["is_later"], "sooner than what is waited for: a test clock's time may come sooner, too"
    stack.control.jump(300 + 700)
    wait_until(lambda: invoice(stack, owed)["attempt_count"] == 2, 20)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert tries(stack)[-1] == (good, 2, True, "paid")
    is_paid_once(stack, owed)


def test_a_lease_that_was_lost_writes_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has it by then, and comes to the same by the same key."""
    failing, good = cards(stack, FAILS, PAYS)
    owed, answered, lost = owes(stack, failing), ChargeLeases.answered, threading.Event()

    def late(self: ChargeLeases, *given: Any) -> None:
        if not lost.is_set():
            lost.set()
            stack.rows("UPDATE failing_invoices SET lease_token = 1, lease_until = now(), due_at = now()")
        answered(self, *given)

    monkeypatch.setattr(ChargeLeases, "answered", late)
    worker = start(stack)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    assert worker.metric("subkeeper_charge_seconds_count", outcome="lease_lost") == 1
    assert tries(stack)[-1] == (good, 1, True, "paid")
    is_paid_once(stack, owed)


def test_explain_tells_what_was_tried(stack: Stack, tmp_path: Path) -> None:
    start(stack)
    failing, good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    hear_failures(stack)
    wait_until(lambda: is_done(stack) and tries(stack), 20)
    stack.rows("INSERT INTO failing_invoices (stripe_invoice_id, due_at) VALUES (%s, now() + interval '1 hour')", owed)
    told = {each["what"]: each for each in Commands(stack, tmp_path)("explain", "ann", "--json").json}
    assert told["charge declined before"]["payment_method"] == failing
    tried = told["charge tried"]
    assert (tried["about"], tried["payment_method"], tried["outcome"], tried["attempt"]) == (owed, good, "paid", 1)
    assert told["payment to be looked at"]["about"] == owed


def test_who_is_being_erased_is_charged_no_more(stack: Stack) -> None:
    start(stack)
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    stack.rows("UPDATE provisionings SET state = 'erasing'")
    hear_failures(stack)
    wait_until(lambda: is_done(stack), 20)
    assert asked(stack, owed) == []


def test_a_try_that_an_erasure_has_overtaken_is_not_begun(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was asked for after the cards were read."""
    known = ChargeLeases.known

    def overtaken(leases: ChargeLeases, invoice: InvoiceNow) -> Known:
        found = known(leases, invoice)
        stack.rows("UPDATE provisionings SET state = 'erasing'")
        return found

    monkeypatch.setattr(ChargeLeases, "known", overtaken)
    start(stack, SUBKEEPER_SETTLE__LEASE="10")
    failing, _good = cards(stack, FAILS, PAYS)
    owed = owes(stack, failing)
    hear_failures(stack)
    wait_until(lambda: stack.ledger("ann")["state"] == "erasing", 20)
    stack.rows("UPDATE failing_invoices SET due_at = now(), lease_until = now()")
    wait_until(lambda: is_done(stack), 40)
    assert (asked(stack, owed), tries(stack)) == ([], [])


def test_tries_of_long_ago_are_forgotten(stack: Stack) -> None:
    tried = """
        INSERT INTO charge_tries (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id,
            is_ours, outcome, ended_at)
        VALUES ('in_1', 1, 'pm_1', 'cus_1', true, 'paid', now() - interval '401 days'),
            ('in_2', 1, 'pm_1', 'cus_1', true, 'paid', now() - interval '399 days'),
            ('in_3', 1, 'pm_1', 'cus_1', true, NULL, NULL)
    """
    stack.rows(tried)
    start(stack)
    wait_until(lambda: len(stack.rows("SELECT 1 FROM charge_tries")) == 2, 20)
    assert {each["stripe_invoice_id"] for each in stack.rows("SELECT * FROM charge_tries")} == {"in_2", "in_3"}

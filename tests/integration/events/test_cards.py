"""Rows of payment methods follow events in any order, and a list tells what was missed."""

from __future__ import annotations

from itertools import permutations

from tests.integration.events.test_events import later, start
from tests.integration.events.test_payable import add_card, customer_of
from tests.integration.events.test_verify import quick_second_look, verify
from tests.support.stack import Stack, users
from worker.domain.drift import Kind, Repair

__all__ = ["quick_second_look"]


def cards(stack: Stack, user_id: str) -> list[str]:
    """Our rows, in their order."""
    query = """
        SELECT p.stripe_payment_method_id AS id FROM payment_methods p
        JOIN billing_customers c ON c.id = p.billing_customer_id
        WHERE c.user_id = %s AND priority IS NOT NULL ORDER BY priority
    """
    return [each["id"] for each in stack.rows(query, user_id)]


def test_a_new_card_goes_last_and_a_detached_one_stays_that_in_every_order(stack: Stack) -> None:
    names = users(6)
    start(stack, *names)
    heard, kept = [], {}
    for name, order in zip(names, permutations(range(3)), strict=True):
        customer = customer_of(stack, name)
        gone, first = add_card(stack, customer), add_card(stack, customer)
        stack.call_stripe("POST", f"/v1/payment_methods/{gone}/detach")
        told = stack.events("payment_method.attached", "payment_method.detached")[-3:]
        heard += [told[place] for place in order]
        kept[name] = first
    for event in heard:
        stack.hear(event, event)
    stack.await_heard(*heard)
    assert set(stack.outcomes().values()) == {"applied"}
    assert {name: cards(stack, name) for name in names} == {name: [card] for name, card in kept.items()}
    second = add_card(stack, customer_of(stack, names[0]))
    event = stack.events("payment_method.attached")[-1]
    stack.hear(event)
    stack.await_heard(event)
    assert cards(stack, names[0]) == [kept[names[0]], second]


def test_a_card_of_nobodys_customer_is_none_of_ours(stack: Stack) -> None:
    start(stack)
    add_card(stack, stack.call_stripe("POST", "/v1/customers")["id"])
    event = stack.events("payment_method.attached")[-1]
    stack.hear(event)
    stack.await_heard(event)
    assert stack.outcomes() == {event["id"]: "unmatched"}
    assert stack.rows("SELECT 1 FROM payment_methods") == []


def test_a_card_of_a_customer_that_was_deleted_is_none_of_ours(stack: Stack) -> None:
    """Its event comes late: there is nobody whom it could be charged for."""
    start(stack, "ada")
    customer = customer_of(stack, "ada")
    add_card(stack, customer)
    attached = stack.events("payment_method.attached")[-1]
    stack.call_stripe("DELETE", f"/v1/customers/{customer}")
    gone = stack.events("customer.deleted")[-1]
    stack.hear(gone)
    stack.await_heard(gone)
    stack.hear(attached)
    stack.await_heard(attached)
    assert stack.outcomes()[attached["id"]] == "tombstoned"
    assert stack.rows("SELECT 1 FROM payment_methods") == []


def test_verify_tells_which_cards_were_missed_and_mends_that(stack: Stack) -> None:
    start(stack, "ada", "bob")
    customer = customer_of(stack, "ada")
    gone, there = add_card(stack, customer), add_card(stack, customer)
    attached = later(stack, stack.events("payment_method.attached")[0], -60)
    stack.hear(attached)
    stack.await_heard(attached)
    stack.call_stripe("POST", f"/v1/payment_methods/{gone}/detach")
    assert cards(stack, "ada") == [gone]
    (found,) = verify(stack)
    assert (found.kind, found.user_id, found.stripe_customer_id) == (Kind.CARDS, "ada", customer)
    assert [tuple(each) for each in found.differences] == [("payment_methods", gone, there)]
    assert cards(stack, "ada") == [gone], "it was to tell"
    (found,) = verify(stack, repair=True)
    assert found.repair is Repair.DONE
    assert cards(stack, "ada") == [there]
    assert verify(stack) == []


def test_verify_asks_for_a_users_cards_where_we_know_of_none_only_if_it_is_asked_for_them(stack: Stack) -> None:
    """Each customer's are a read of its own: of those of whom nothing tells of a card that is not worth it."""
    start(stack, "ada", "bob")
    card = add_card(stack, customer_of(stack, "ada"))
    assert verify(stack) == []
    (found,) = verify(stack, "ada", repair=True)
    assert (found.kind, found.repair) == (Kind.CARDS, Repair.DONE)
    assert cards(stack, "ada") == [card]

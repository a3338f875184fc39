"""Whatever is done to subscriptions, and however time passes between: each change was told, and money adds up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sandbox_stripe.account import DAY, HOUR, START, Account, Refused

Life: TypeAlias = tuple[Account, str, str]
"""An account, a customer there, and its subscription."""

_CARDS = ("pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired")


def _use(card: str) -> Callable[[Life], Any]:
    def act(life: Life) -> None:
        account, customer, _ = life
        method = account.post(f"/v1/payment_methods/{card}/attach", customer=customer)["id"]
        account.post(f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": method})

    return act


def _detach(life: Life) -> None:
    account, customer, _ = life
    for method in account.get(f"/v1/customers/{customer}/payment_methods")["data"]:
        account.post(f"/v1/payment_methods/{method['id']}/detach")


def _invoice(verb: str) -> Callable[[Life], Any]:
    return lambda life: life[0].post(f"/v1/invoices/{life[0].latest(life[2])['id']}/{verb}")


def _update(**params: str) -> Callable[[Life], Any]:
    return lambda life: life[0].post(f"/v1/subscriptions/{life[2]}", params)


def _change(paid: bool) -> Callable[[Life], Any]:
    def act(life: Life) -> None:
        account, _, subscription = life
        item = account.subscription(subscription)["items"]["data"][0]["id"]
        sent = {"items[0][id]": item, "items[0][price]": account.paid if paid else account.price}
        account.post(f"/v1/subscriptions/{subscription}", sent)

    return act


def _resume(life: Life) -> None:
    life[0].post(f"/v1/subscriptions/{life[2]}/resume")


_ACTIONS: dict[str, Callable[[Life], Any]] = {
    **{f"use {card}": _use(card) for card in _CARDS},
    **{verb: _invoice(verb) for verb in ("finalize", "pay", "void", "mark_uncollectible")},
    "cancel": lambda life: life[0].delete(f"/v1/subscriptions/{life[2]}"),
    "delete customer": lambda life: life[0].delete(f"/v1/customers/{life[1]}"),
    "detach": _detach,
    "end trial": _update(trial_end="now"),
    "leave at the period's end": _update(cancel_at_period_end="true"),
    "pause collection": _update(**{"pause_collection[behavior]": "void"}),
    "resume": _resume,
    "stay": _update(cancel_at_period_end="false"),
    "to free": _change(paid=False),
    "to paid": _change(paid=True),
}
_WAITS = {"an hour": HOUR, "a week": 7 * DAY, "a month": 31 * DAY, "the period's end": 0}
_STEPS = st.lists(st.one_of(st.sampled_from([*_ACTIONS]), st.sampled_from([*_WAITS, "the period's end"])), max_size=14)


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.booleans(), st.sampled_from(["pause", "cancel", "create_invoice"]), st.booleans(), _STEPS)
def test_each_change_is_told_and_every_invoice_adds_up(
    on_clock: bool, paid: bool, behavior: str, trial: bool, steps: list[str]
) -> None:
    account = Account().open()
    account.time = START
    clock = account.clock() if on_clock else None
    customer = account.customer("pm_card_visa", **({"test_clock": clock} if clock else {}))
    sent = {"trial_settings[end_behavior][missing_payment_method]": behavior}
    sent |= {"trial_period_days": "5"} if trial else {}
    subscription = account.subscribe(customer, account.paid if paid else account.price, **sent)["id"]
    now = START
    for step in steps:
        with suppress(Refused):
            if step in _ACTIONS:
                _ACTIONS[step]((account, customer, subscription))
                continue
            period = account.subscription(subscription)["items"]["data"][0]["current_period_end"]
            wait = _WAITS[step] or max(period - (now if clock else int(account.time)), 1)
            if clock is None:
                account.wait(wait)
            else:
                account.advance(clock, now + wait)
                now += wait
    _told_as_it_is(account)
    for bill in account.get("/v1/invoices", limit=100)["data"]:
        assert bill["amount_due"] == bill["amount_paid"] + bill["amount_remaining"]
        assert (bill["status"] == "paid") == (bill["amount_remaining"] == 0 and bill["status"] != "draft")


def _told_as_it_is(account: Account) -> None:
    """The last event about each object shows it as it is now."""
    shown = {}
    for event in account.events():
        shown[event["data"]["object"]["id"]] = event["data"]["object"]
    tables = account.service.ledger.tables
    for kind in ("customer", "subscription", "invoice", "payment_method", "payment_intent"):
        for row in tables[kind].all():
            if row["id"] in shown:
                assert shown[row["id"]] == row, kind
            else:
                assert kind == "payment_method"
                assert row["customer"] is None

"""Checkout sessions and the portal's, by the API: what is made, what is refused, what time does."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from sandbox.stripe.pages import visiting
from tests.unit.sandbox_stripe.account import DAY, HOUR, START, Account, Refused

PATH = "/v1/checkout/sessions"
SETUP = {"mode": "setup", "currency": "usd", "success_url": "https://example.com/?s={CHECKOUT_SESSION_ID}"}


def subscribing(account: Account, **more: Any) -> dict[str, Any]:
    item = {"line_items[0][price]": account.paid, "line_items[0][quantity]": 1}
    return {"mode": "subscription", "success_url": "https://example.com/", **item, **more}


def refusal(account: Account, path: str, sent: dict[str, Any]) -> tuple[int, str | None]:
    with pytest.raises(Refused) as refused:
        account.post(path, sent)
    return refused.value.status, refused.value.error.get("param")


def test_a_session_in_setup_mode_has_its_intent_with_our_metadata_from_the_start(account: Account) -> None:
    customer = account.customer()
    session = account.post(PATH, {**SETUP, "customer": customer, "setup_intent_data[metadata][row]": "7"})
    assert (session["status"], session["payment_status"]) == ("open", "no_payment_required")
    assert session["expires_at"] == session["created"] + 24 * HOUR
    intent = account.get(f"/v1/setup_intents/{session['setup_intent']}")
    assert (intent["metadata"], intent["customer"]) == ({"row": "7"}, customer)
    for verb in ("confirm", "cancel"):
        assert refusal(account, f"/v1/setup_intents/{intent['id']}/{verb}", {})[0] == 400


def test_a_session_in_subscription_mode_says_what_is_due_today(account: Account) -> None:
    session = account.post(PATH, subscribing(account, **{"expand[0]": "line_items"}))
    assert (session["amount_total"], session["currency"], session["payment_status"]) == (2000, "usd", "unpaid")
    assert session["line_items"]["data"][0]["price"]["id"] == account.paid
    trial = account.post(PATH, subscribing(account, **{"subscription_data[trial_period_days]": 7}))
    assert (trial["amount_total"], "_order" in trial) == (0, False)
    assert account.get(f"{PATH}/{trial['id']}/line_items")["data"][0]["quantity"] == 1


@pytest.mark.parametrize("how", ["asked", "time", "test clock"])
def test_an_open_session_expires_once_and_its_intent_with_it(account: Account, how: str) -> None:
    clock = account.clock()
    customer = account.post("/v1/customers", test_clock=clock)["id"]
    session = account.post(PATH, {**SETUP, "customer": customer})
    before = account.mark()
    if how == "asked":
        account.post(f"{PATH}/{session['id']}/expire")
    elif how == "time":
        account.wait(24 * HOUR)
    else:
        account.advance(clock, START + 25 * HOUR)
    expired = account.get(f"{PATH}/{session['id']}")
    assert (expired["status"], expired["url"]) == ("expired", None)
    told = [kind for kind in account.told(before) if "clock" not in kind]
    assert told == ["setup_intent.canceled", "checkout.session.expired"]
    assert refusal(account, f"{PATH}/{session['id']}/expire", {}) == (400, None)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"mode": "setup", "success_url": "https://example.com/"}, "currency"),
        ({**SETUP, "success_url": "example.com"}, "success_url"),
        ({**SETUP, "expires_at": START + 29 * 60}, "expires_at"),
        ({**SETUP, "expires_at": START + 24 * HOUR + 1}, "expires_at"),
        ({**SETUP, "line_items[0][price]": "price_x", "line_items[0][quantity]": 1}, "line_items"),
        ({**SETUP, "customer": "cus_none"}, "customer"),
        ({"mode": "subscription", "success_url": "https://example.com/"}, "line_items"),
        ({**SETUP, "subscription_data[metadata][a]": "b"}, "subscription_data"),
    ],
)
def test_what_a_session_can_t_be_is_refused(account: Account, sent: dict[str, Any], param: str) -> None:
    assert refusal(account, PATH, sent) == (400, param)


def test_a_trial_of_less_than_two_days_is_refused(account: Account) -> None:
    sent = subscribing(account, **{"subscription_data[trial_end]": START + 2 * DAY - 1})
    assert refusal(account, PATH, sent) == (400, "subscription_data[trial_end]")


def test_sessions_are_listed_by_customer_and_status(account: Account) -> None:
    customer = account.customer()
    first, second = (account.post(PATH, {**SETUP, "customer": customer})["id"] for _ in range(2))
    account.post(PATH, SETUP)
    account.post(f"{PATH}/{first}/expire")
    assert [each["id"] for each in account.get(PATH, customer=customer)["data"]] == [second, first]
    assert [each["id"] for each in account.get(PATH, customer=customer, status="open")["data"]] == [second]


def test_nothing_is_completed_while_its_customer_s_clock_advances(account: Account) -> None:
    clock = account.clock()
    customer = account.post("/v1/customers", test_clock=clock)["id"]
    session = account.post(PATH, {**SETUP, "customer": customer})
    account.post(f"/v1/test_helpers/test_clocks/{clock}/advance", frozen_time=START + HOUR)
    entered = urlencode({"number": "4242424242424242", "expiry": "12/49", "cvc": "123"}).encode()
    before = account.mark()
    answer = visiting.answer(account.service, "POST", f"/c/pay/{session['id']}", entered)
    assert (answer.status, account.mark()) == (429, before)
    assert account.get(f"{PATH}/{session['id']}")["status"] == "open"


def test_a_session_survives_a_kill_with_what_it_is_to_make_and_expires_after_it_once(tmp_path: Path) -> None:
    before = Account(tmp_path / "state").open()
    customer = before.customer()
    paying = before.post(PATH, subscribing(before, customer=customer))
    before.post(PATH, {**SETUP, "customer": customer})
    after = Account(tmp_path / "state")
    after.post(f"/v1/payment_pages/{paying['id']}/confirm", payment_method="pm_card_visa")
    assert (
        after.get("/v1/subscriptions", customer=customer)["data"][0]["items"]["data"][0]["price"]["id"] == before.paid
    )
    after.wait(25 * HOUR)
    assert after.told().count("checkout.session.expired") == 1
    again = Account(tmp_path / "state")
    again.wait(26 * HOUR)
    assert again.told().count("checkout.session.expired") == 1


CONFIGURATIONS, SESSIONS = "/v1/billing_portal/configurations", "/v1/billing_portal/sessions"


def configured(account: Account, **more: Any) -> dict[str, Any]:
    product = account.get(f"/v1/prices/{account.paid}")["product"]
    update, cancel = "features[subscription_update]", "features[subscription_cancel]"
    sent = {
        f"{update}[enabled]": "true",
        f"{update}[default_allowed_updates][0]": "price",
        f"{update}[products][0][product]": product,
        f"{update}[products][0][prices][0]": account.paid,
        f"{update}[trial_update_behavior]": "continue_trial",
        f"{cancel}[enabled]": "true",
        "features[payment_method_update][enabled]": "true",
    }
    return account.post(CONFIGURATIONS, {**sent, **more})


def test_a_configuration_keeps_what_an_update_doesn_t_name(account: Account) -> None:
    made = configured(account, default_return_url="https://example.com/")
    assert (made["active"], made["is_default"], made["default_return_url"]) == (True, False, "https://example.com/")
    path = f"{CONFIGURATIONS}/{made['id']}"
    after = account.post(path, {"features[subscription_cancel][mode]": "immediately", "metadata[a]": "b"})
    assert after["features"]["subscription_update"] == made["features"]["subscription_update"]
    assert after["features"]["subscription_cancel"]["mode"] == "immediately"
    assert [each["id"] for each in account.get(CONFIGURATIONS, active="true")["data"]] == [made["id"]]
    assert account.told()[-2:] == [f"billing_portal.configuration.{verb}" for verb in ("created", "updated")]


def test_updates_need_cards_and_plans_to_choose_from(account: Account) -> None:
    with pytest.raises(Refused, match="while payment method update is disabled"):
        configured(account, **{"features[payment_method_update][enabled]": "false"})
    other = account.get(f"/v1/prices/{account.price}")["product"]
    sent = {"features[subscription_update][products][0][product]": other}
    with pytest.raises(Refused, match="must be a recurring price of the product"):
        configured(account, **sent)


def test_a_portal_session_needs_a_configuration_its_own_or_the_account_s(account: Account) -> None:
    customer = account.customer()
    with pytest.raises(Refused, match="No configuration provided and your test mode default"):
        account.post(SESSIONS, customer=customer)
    named = configured(account)["id"]
    session = account.post(SESSIONS, customer=customer, configuration=named, return_url="https://example.com/back")
    assert (session["configuration"], session["return_url"]) == (named, "https://example.com/back")
    assert account.told()[-1] == "billing_portal.session.created"
    account.post(f"{CONFIGURATIONS}/{named}", active="false")
    assert refusal(account, SESSIONS, {"customer": customer, "configuration": named}) == (400, "configuration")


def test_a_flow_is_refused_where_the_portal_would_not_do_it(account: Account) -> None:
    configuration = configured(account)["id"]
    off = configured(account, **{f"features[subscription_{what}][enabled]": "false" for what in ("update", "cancel")})
    customer = account.customer("pm_card_visa")
    sub = account.subscribe(customer, trial_period_days=7)["id"]

    def flow(what: str, **more: Any) -> dict[str, Any]:
        detail = {"flow_data[type]": what, f"flow_data[{what}][subscription]": sub}
        return {"customer": customer, "configuration": configuration, **detail, **more}

    session = account.post(SESSIONS, flow("subscription_cancel"))
    assert session["flow"]["subscription_cancel"] == {"subscription": sub, "retention": None}
    assert session["flow"]["after_completion"]["type"] == "portal_homepage"
    for what, word in (("subscription_update", "update"), ("subscription_cancel", "cancel")):
        with pytest.raises(Refused, match=f"subscription {word} feature in the portal configuration is disabled"):
            account.post(SESSIONS, flow(what, configuration=off["id"]))
    other = flow("subscription_update", customer=account.customer())
    assert refusal(account, SESSIONS, other) == (400, "flow_data[subscription_update][subscription]")
    account.post(f"/v1/subscriptions/{sub}", cancel_at_period_end="true")
    with pytest.raises(Refused, match="is already set to be canceled at period end"):
        account.post(SESSIONS, flow("subscription_cancel"))
    account.delete(f"/v1/subscriptions/{sub}")
    with pytest.raises(Refused, match="cannot be updated because its status"):
        account.post(SESSIONS, flow("subscription_update"))

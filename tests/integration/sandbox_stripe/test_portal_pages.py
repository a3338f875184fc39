"""The customer portal's pages, as a person without JavaScript uses them."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.stripe.control import Control
from tests.integration.sandbox_stripe.raw import Raw
from tests.integration.sandbox_stripe.test_pages import ASKS, ASKS_ONCE, CARD, DECLINED, GOOD, NO, YES
from tests.stripe_spec import object_problem
from tests.support.browser import Browser

BACK = "https://example.com/account"


@pytest.fixture
def configuration(raw: Raw, control: Control, plans: list[str]) -> str:
    """The account's default."""
    update, cancel = "features[subscription_update]", "features[subscription_cancel]"
    sent = {
        f"{update}[enabled]": "true",
        f"{update}[default_allowed_updates][0]": "price",
        f"{update}[products][0][product]": raw.get(f"/v1/prices/{plans[0]}").body["product"],
        **{f"{update}[products][0][prices][{place}]": price for place, price in enumerate(plans)},
        f"{update}[proration_behavior]": "always_invoice",
        f"{update}[trial_update_behavior]": "continue_trial",
        f"{cancel}[enabled]": "true",
        f"{cancel}[cancellation_reason][enabled]": "true",
        f"{cancel}[cancellation_reason][options][0]": "too_expensive",
        "features[payment_method_update][enabled]": "true",
        "features[invoice_history][enabled]": "true",
    }
    identifier: str = raw("POST", "/v1/billing_portal/configurations", sent).body["id"]
    control.portal(identifier)
    return identifier


def card(raw: Raw, customer: str, name: str = "pm_card_visa") -> str:
    """That card as the customer's default."""
    identifier: str = raw.post(f"/v1/payment_methods/{name}/attach", customer=customer).body["id"]
    raw("POST", f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": identifier})
    return identifier


def subscribed(raw: Raw, customer: str, price: str, **sent: object) -> str:
    answer = raw("POST", "/v1/subscriptions", {"customer": customer, "items[0][price]": price, **sent})
    assert answer.status == 200, answer.body
    identifier: str = answer.body["id"]
    return identifier


def portal(raw: Raw, customer: str, flow: str = "", subscription: str = "", **sent: object) -> str:
    """The URL of a session, of a flow if one is named."""
    about: dict[str, object] = {"flow_data[type]": flow} if flow else {}
    if subscription:
        about[f"flow_data[{flow}][subscription]"] = subscription
    answer = raw("POST", "/v1/billing_portal/sessions", {"customer": customer, "return_url": BACK, **about, **sent})
    assert answer.status == 200, answer.body
    url: str = answer.body["url"]
    return url


def now(raw: Raw, subscription: str) -> dict[str, Any]:
    found: dict[str, Any] = raw.get(f"/v1/subscriptions/{subscription}").body
    assert object_problem("subscription", found) is None
    return found


def default_of(raw: Raw, customer: str) -> str | None:
    settings = raw.get(f"/v1/customers/{customer}").body["invoice_settings"]
    found: str | None = settings["default_payment_method"]
    return found


@pytest.mark.parametrize("billing_mode", ["flexible", "classic"])
def test_a_cancellation_is_for_the_period_s_end_and_can_be_undone(
    raw: Raw, browser: Browser, configuration: str, customer: str, plans: list[str], billing_mode: str
) -> None:
    """Flexible billing sets `cancel_at` alone, classic `cancel_at_period_end` as well."""
    terms = {"trial_period_days": 7, "billing_mode[type]": billing_mode}
    subscription = subscribed(raw, customer, plans[0], **terms)
    browser.open(portal(raw, customer)).follow("Cancel subscription")
    browser.press("Cancel subscription", feedback="too_expensive")
    after = now(raw, subscription)
    assert (after["status"], after["cancel_at"]) == ("trialing", after["trial_end"])
    assert after["cancel_at_period_end"] is (billing_mode == "classic")
    assert after["cancellation_details"]["feedback"] == "too_expensive"
    assert (browser.title, "Cancel subscription" in browser.links) == ("Your billing", False)
    browser.press("Don't cancel")
    kept = now(raw, subscription)
    assert (kept["cancel_at"], kept["cancel_at_period_end"], kept["canceled_at"]) == (None, False, None)
    assert browser.links["← Back to the website"] == BACK


def test_a_plan_is_changed_paid_and_refused_with_a_card_that_declines(
    raw: Raw, control: Control, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    card(raw, customer)
    subscription = subscribed(raw, customer, plans[0])
    failing = raw.post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer).body["id"]
    raw("POST", f"/v1/subscriptions/{subscription}", {"default_payment_method": failing})
    browser.open(portal(raw, customer)).follow("Change plan").press("Change plan", price=plans[1])
    assert browser.alert == "Your card was declined."
    unchanged = now(raw, subscription)
    assert (unchanged["status"], unchanged["items"]["data"][0]["price"]["id"]) == ("active", plans[0])
    browser.follow("← Back").press("Use this card", card=default_of(raw, customer) or "")
    browser.follow("Change plan").press("Change plan", price=plans[1])
    after = now(raw, subscription)
    assert (browser.title, after["items"]["data"][0]["price"]["id"]) == ("Your billing", plans[1])
    assert raw.get(f"/v1/invoices/{after['latest_invoice']}").body["status"] == "paid"


def test_a_change_during_a_trial_keeps_the_trial_or_ends_it_as_configured(
    raw: Raw, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    card(raw, customer)
    subscription = subscribed(raw, customer, plans[0], trial_period_days=7)
    flow = portal(raw, customer, "subscription_update", subscription)
    browser.open(flow).press("Change plan", price=plans[1])
    kept = now(raw, subscription)
    assert (kept["status"], kept["items"]["data"][0]["price"]["id"]) == ("trialing", plans[1])
    ending = {"features[subscription_update][trial_update_behavior]": "end_trial"}
    raw("POST", f"/v1/billing_portal/configurations/{configuration}", ending)
    browser.open(portal(raw, customer, "subscription_update", subscription)).press("Change plan", price=plans[0])
    assert now(raw, subscription)["status"] == "active"


def test_a_change_asks_the_card_s_owner(
    raw: Raw, control: Control, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    card(raw, customer)
    subscription = subscribed(raw, customer, plans[0])
    card(raw, customer, "pm_card_authenticationRequired")
    browser.open(portal(raw, customer)).follow("Change plan").press("Change plan", price=plans[1])
    assert browser.press(NO).alert is not None
    assert now(raw, subscription)["items"]["data"][0]["price"]["id"] == plans[0]
    browser.press("Change plan", price=plans[1]).press(YES)
    assert now(raw, subscription)["items"]["data"][0]["price"]["id"] == plans[1]


def test_cards_are_added_made_the_default_and_removed(
    raw: Raw, browser: Browser, configuration: str, customer: str
) -> None:
    first = card(raw, customer)
    browser.open(portal(raw, customer)).follow("Add a card").press("Add card", number=DECLINED, **CARD)
    assert browser.alert == "Your card was declined."
    browser.press("Add card", number=ASKS_ONCE, **CARD).press(NO)
    assert browser.alert is not None
    assert default_of(raw, customer) == first
    browser.press("Add card", number=ASKS, **CARD).press(YES)
    second = default_of(raw, customer)
    assert (browser.title, second != first) == ("Your billing", True)
    browser.press("Make default")
    assert default_of(raw, customer) == first
    browser.press("Remove")
    owned = raw.get("/v1/payment_methods", customer=customer).body["data"]
    assert [each["id"] for each in owned] == [first]
    told = [event["type"] for event in raw.get("/v1/events", limit=100).body["data"]]
    assert (told.count("payment_method.attached"), told.count("payment_method.detached")) == (2, 1)


@pytest.mark.parametrize("after", ["redirect", "hosted_confirmation", "portal_homepage"])
def test_a_flow_goes_on_where_it_was_told_to(
    raw: Raw, browser: Browser, configuration: str, customer: str, plans: list[str], after: str
) -> None:
    subscription = subscribed(raw, customer, plans[0], trial_period_days=7)
    more = {
        "redirect": {"flow_data[after_completion][redirect][return_url]": f"{BACK}?done=1"},
        "hosted_confirmation": {"flow_data[after_completion][hosted_confirmation][custom_message]": "Goodbye"},
        "portal_homepage": {},
    }
    url = portal(
        raw,
        customer,
        "subscription_cancel",
        subscription,
        **{"flow_data[after_completion][type]": after},
        **more[after],
    )
    browser.open(url)
    assert (browser.title, browser.links) == ("Cancel your subscription", {"← Back to the website": BACK})
    browser.press("Cancel subscription")
    assert now(raw, subscription)["cancel_at"] is not None
    if after == "redirect":
        assert browser.url == f"{BACK}?done=1"
    else:
        assert browser.title == ("Done" if after == "hosted_confirmation" else "Your billing")
    assert Browser().open(url).title == "Your billing"


def test_nobody_reaches_what_isn_t_theirs_or_isn_t_configured(
    raw: Raw, control: Control, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    other = raw.post("/v1/customers").body["id"]
    foreign = subscribed(raw, other, plans[0], trial_period_days=7)
    foreign_card = card(raw, other)
    url = portal(raw, customer)
    for path in (f"subscriptions/{foreign}/cancel", f"cards/{foreign_card}/remove", "subscriptions/x/fly"):
        assert browser.open(f"{url}/{path}").status == 404
    raw(
        "POST",
        f"/v1/billing_portal/configurations/{configuration}",
        {"features[subscription_cancel][enabled]": "false"},
    )
    own = subscribed(raw, customer, plans[0], trial_period_days=7)
    assert "Cancel subscription" not in browser.open(url).links
    browser.open(f"{url}/subscriptions/{own}/cancel").press("Cancel subscription")
    assert (browser.alert is not None, now(raw, own)["cancel_at"]) == (True, None)
    control.jump(3_600)
    assert browser.open(url).title == "This link has expired"


def test_a_card_that_pays_a_subscription_is_not_removed(
    raw: Raw, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    first = card(raw, customer)
    subscribed(raw, customer, plans[0], default_payment_method=first)
    browser.open(portal(raw, customer)).follow("Add a card").press("Add card", number=GOOD, **CARD)
    assert browser.press("Remove").alert == "This card is in use: choose another one first."
    assert len(raw.get("/v1/payment_methods", customer=customer).body["data"]) == 2


def test_an_open_invoice_is_paid_once_its_card_and_its_owner_agree(
    raw: Raw, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    card(raw, customer, "pm_card_chargeCustomerFail")
    subscription = subscribed(raw, customer, plans[0])
    assert now(raw, subscription)["status"] == "incomplete"
    browser.open(portal(raw, customer)).press("Pay")
    assert browser.alert == "Your card was declined."
    card(raw, customer, "pm_card_authenticationRequired")
    browser.press("Pay").press(NO)
    assert browser.alert is not None
    assert browser.alert.startswith("We are unable to authenticate")
    browser.press("Pay").press(YES)
    assert (browser.title, "Pay" in browser.buttons) == ("Your billing", False)
    assert now(raw, subscription)["status"] == "active"


def test_every_field_is_labelled_on_every_page(
    raw: Raw, browser: Browser, configuration: str, customer: str, plans: list[str]
) -> None:
    own = card(raw, customer)
    subscriptions = [subscribed(raw, customer, plans[0], default_payment_method=own) for _ in range(2)]
    url = portal(raw, customer)
    act = f"/subscriptions/{subscriptions[0]}"
    paths = ("", f"{act}/cancel", f"{act}/update", "/cards/new/add")
    seen = [(len(browser.open(url + path).forms), browser.unclear) for path in paths]
    assert seen == [(2, []), (1, []), (1, []), (1, [])]

"""What a person does in a browser, from signing up to canceling, and what an operator sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import pytest

from tests.integration.accounts.conftest import Accounts, NewAccounts, token_of
from tests.integration.accounts.paying import CANCEL, VISA, opened
from tests.integration.web.callers import ask
from tests.support.stack import profile
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.timeout(600)
DECLINED = "4000000000000002"
PATIENCE = 60.0
"""Seconds for what workers and a browser do meanwhile."""


@pytest.fixture
def accounts(new_accounts: NewAccounts) -> Accounts:
    """All of it at work; bea has signed up, by a message."""
    accounts = new_accounts()
    for what in ("profiles", "events"):
        wait_until(accounts.stack.start_worker(what).is_ready, PATIENCE)
    accounts.stack.publish(profile("bea"))
    accounts.stack.await_completed("bea", timeout=PATIENCE)
    return accounts


def hear(accounts: Accounts, *types: str) -> None:
    events = accounts.stack.events(*types)
    accounts.stack.hear(*events)
    accounts.stack.await_heard(*events, timeout=PATIENCE)


def pay(page: Page, card: str) -> None:
    for field, value in (("number", card), ("expiry", "12/34"), ("cvc", "123"), ("name", "Bea")):
        page.fill(f"#{field}", value)
    page.get_by_role("button", name="Save card").click()


def row_comes_to(accounts: Accounts, **fields: object) -> None:
    def is_there() -> bool:
        return bool(accounts.read("bea").body.items() >= fields.items())

    wait_until(is_there, PATIENCE, f"the subscription says {fields}")


def in_the_portal(accounts: Accounts, browser: BrowserContext, intent: str) -> Page:
    asked = {"user_id": "bea", "intent": intent, "return_url": CANCEL}
    page = browser.new_page()
    page.goto(accounts.post("/billing/subscriptions/manage", asked, token_of("bea")).body["url"])
    return page


def test_a_user_pays_after_a_decline_changes_plans_and_cancels(accounts: Accounts, browser: BrowserContext) -> None:
    checkout = opened(accounts, "pro", "bea")
    page = browser.new_page()
    page.goto(checkout.body["url"])
    pay(page, DECLINED)
    page.get_by_role("alert").wait_for()
    assert "declined" in page.inner_text("body")
    pay(page, VISA)
    page.wait_for_url("https://app.example.com/done?**")
    assert urlsplit(page.url).query.startswith("session=cs_")
    hear(accounts, "checkout.session.completed")
    wait_until(lambda: _state_of(accounts, checkout.body["id"]) == "applied", PATIENCE, "the checkout is applied")
    row_comes_to(accounts, plan="pro", status="trialing", payable=True)

    page = in_the_portal(accounts, browser, "update")
    gold = accounts.stack.call_stripe("GET", "/v1/prices?lookup_keys[]=gold")["data"][0]["id"]
    page.locator(f"input[value={gold}]").check()
    page.get_by_role("button", name="Change plan").click()
    page.wait_for_url(CANCEL)
    hear(accounts, "customer.subscription.updated")
    row_comes_to(accounts, plan="gold", canceling=False)

    page = in_the_portal(accounts, browser, "cancel")
    page.get_by_role("button", name="Cancel subscription").click()
    page.wait_for_url(CANCEL)
    hear(accounts, "customer.subscription.updated")
    row_comes_to(accounts, plan="gold", canceling=True)


def _state_of(accounts: Accounts, checkout: str) -> object:
    return ask(accounts, f"/billing/checkouts/{checkout}", token_of("bea")).body["state"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_operator_asks_about_a_user_by_keyboard_on_a_phone(
    accounts: Accounts, browser: BrowserContext, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"http://127.0.0.1:{accounts.web_port}/ops")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it is as wide as the phone"
    for _ in range(50):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "user":
            break
    page.keyboard.type("bea")
    page.keyboard.press("Enter")
    page.wait_for_url("**user=bea**")
    assert accounts.id_of("bea") in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

"""POST /billing/subscriptions: which page is opened, and what comes of one that a browser completes."""

from __future__ import annotations

import pytest

from tests.integration.accounts.conftest import Accounts
from tests.integration.accounts.paying import come_to, completed, heard, opened, told
from tests.support.waiting import wait_until


@pytest.fixture
def hearing(accounts: Accounts) -> Accounts:
    wait_until(accounts.stack.start_worker("events").is_ready)
    return accounts


def sessions(accounts: Accounts) -> list[dict[str, object]]:
    """What was asked of Stripe to open."""
    return [each["params"] for each in accounts.stack.requests("POST", "/v1/checkout/sessions")]


def test_who_has_a_subscription_saves_a_card_and_changes_plans_and_keeps_the_trial(hearing: Accounts) -> None:
    before = hearing.at_stripe("ann")
    page = opened(hearing)
    assert (told(hearing, page)["state"], told(hearing, page)["url"]) == ("pending", page.body["url"])
    browser = completed(page)
    (session,) = hearing.stack.events("checkout.session.completed")
    assert browser.url == f"https://app.example.com/done?session={session['data']['object']['id']}"
    assert told(hearing, page)["state"] == "pending", "where the browser is led says nothing"
    heard(hearing)
    applied = come_to(hearing, page, "applied")
    assert (applied["plan"], applied["code"], applied["url"]) == ("pro", None, None)
    after, row = hearing.at_stripe("ann"), hearing.read("ann").body
    assert (after["trial_end"], after["items"]["data"][0]["price"]["lookup_key"]) == (before["trial_end"], "pro")
    card = after["default_payment_method"]
    assert card is not None
    assert hearing.customer("ann")["invoice_settings"]["default_payment_method"] == card
    assert (row["plan"], row["status"]) == ("pro", "trialing")

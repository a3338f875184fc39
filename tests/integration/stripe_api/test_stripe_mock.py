"""Every request that we make, checked by Stripe's own stripe-mock against Stripe's OpenAPI description."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest

from sandbox.binaries import stripe_mock
from tests.integration.stripe_api.conftest import NewGateway
from worker.domain.account_changes import Step
from worker.domain.changing import Changeable, canceling_request, own_default_request, plan_request
from worker.domain.checkouts import Terms, Urls, completing_request, setup_request, subscription_request
from worker.domain.customer_details import TaxId, address_request, name_request
from worker.domain.deadline import Deadline
from worker.domain.event import TYPES
from worker.domain.lanes import Lane
from worker.domain.portal import Choice, Intent, features, portal_request
from worker.domain.provisioning import customer_request
from worker.stripe_api.account_calls import AccountCalls
from worker.stripe_api.charge_calls import ChargeCalls
from worker.stripe_api.checkout_calls import CheckoutCalls
from worker.stripe_api.credentials import API_VERSION
from worker.stripe_api.errors import Refused
from worker.stripe_api.event_list import EventWindow
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.portal_configurations import PortalConfigurations
from worker.stripe_api.products import Products
from worker.stripe_api.showing import Showing
from worker.stripe_api.webhook_endpoints import WebhookEndpoints

NOW = datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)
ON_TRIAL = Changeable("trialing", "si_1", "price_1", int(NOW.timestamp()), "pm_0", None, cancel_at_period_end=False)


@pytest.fixture(scope="module")
def mock_url() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(stripe_mock()), "-http-addr", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await_listening(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert process.poll() is None, "stripe-mock ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail("stripe-mock does not listen")


def subscription_parameters() -> dict[str, object]:
    """As `worker.domain.provisioning.subscription_request` freezes them."""
    return {
        "customer": "cus_1",
        "items": [{"price": "price_1"}],
        "trial_end": int(time.time()) + 86_400,
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        "billing_mode": {"type": "flexible"},
        "metadata": {"subkeeper": "d1", "user_id": "u1"},
    }


def clock_ahead(stripe: StripeGateway, lane: Lane, by: Deadline) -> object:
    stripe.test_clock = "clock_1"
    return stripe.test_clock_ahead(lane=lane, deadline=by)


def cancel(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    stripe.accounts.cancel_subscription("sub_1", key="k13", deadline=by)
    return True


def delete_tax_id(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    stripe.accounts.delete_tax_id("cus_1", "txi_1", deadline=by)
    return True


def default_card(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    card = {"invoice_settings": {"default_payment_method": "pm_1"}}
    return stripe.accounts.update_customer("cus_1", card, key="k15", deadline=by)


def detach(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    stripe.accounts.detach("pm_1", key="k24", deadline=by)
    return True


def delete_customer(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    stripe.accounts.delete_customer("cus_1", key="k30", deadline=by)
    return True


TERMS = Terms("test", "flexible", "usd")
URLS = Urls("https://app.example.com/?session={CHECKOUT_SESSION_ID}", "https://app.example.com/")
OWED = Changeable("past_due", "si_1", "price_1", None, None, None, False, "in_1", "open")


def expire(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    stripe.checkouts.expire_checkout("cs_1", key="k20", deadline=by)
    return True


def pay(stripe: StripeGateway, _lane: Lane, by: Deadline) -> object:
    request = dict(completing_request(Step.PAY, OWED, "pm_1") or {})
    stripe.checkouts.pay_invoice(str(request.pop("invoice")), request, key="k21", deadline=by)
    return True


def open_portal(intent: Intent) -> Callable[[StripeGateway, Lane, Deadline], object]:
    request = portal_request(intent, "cus_1", "bpc_1", "sub_1", "https://app.example.com/")
    return lambda stripe, _lane, by: stripe.checkouts.open_portal(request, key="k22", deadline=by)


FEATURES = features([Choice("prod_1", "price_1")], "always_invoice")

REQUESTS: dict[str, Callable[[StripeGateway, Lane, Deadline], object]] = {
    "account": lambda stripe, _lane, by: stripe.account(by),
    "create_customer": lambda stripe, lane, by: stripe.create_customer(
        customer_request("test", "u1", "ada@example.org", "Ada"), key="k1", lane=lane, deadline=by
    ),
    "create_subscription": lambda stripe, lane, by: stripe.create_subscription(
        subscription_parameters(), key="k2", lane=lane, deadline=by
    ),
    "customer": lambda stripe, lane, by: stripe.customer("cus_1", lane=lane, deadline=by),
    "by_email": lambda stripe, lane, by: stripe.customers_page(email="ada@example.org", lane=lane, deadline=by),
    "walk": lambda stripe, lane, by: stripe.customers_page(until=NOW, after="cus_1", lane=lane, deadline=by),
    "search": lambda stripe, lane, by: stripe.customers_by_digest_search(["d1", "d2"], lane=lane, deadline=by),
    "subscriptions": lambda stripe, lane, by: stripe.subscriptions_of("cus_1", lane=lane, deadline=by).value[0],
    "subscriptions_page": lambda stripe, lane, by: stripe.subscriptions_page(
        "sub_1", customer_id="cus_1", lane=lane, deadline=by
    ),
    "event": lambda stripe, lane, by: stripe.event("evt_1", lane=lane, deadline=by),
    "events_page": lambda stripe, lane, by: stripe.events_page(
        EventWindow(NOW, undelivered=True), "evt_1", lane=lane, deadline=by
    ),
    "subscription": lambda stripe, lane, by: stripe.subscription("sub_1", lane=lane, deadline=by),
    "events": lambda stripe, lane, by: stripe.events_page(
        EventWindow(NOW, NOW, undelivered=True), "evt_1", lane=lane, deadline=by
    ),
    "price": lambda stripe, _lane, by: stripe.prices(["pending"], deadline=by),
    "product": lambda stripe, _lane, by: stripe.products.find("prod_1", deadline=by),
    "create_product": lambda stripe, _lane, by: stripe.products.create(
        {"id": "subkeeper_pending", "name": "Pending"}, key="k3", deadline=by
    ),
    "update_product": lambda stripe, _lane, by: stripe.products.update(
        "subkeeper_pending", {"subkeeper_database_0123456789abcdef": "id"}, key="k6", deadline=by
    ),
    "create_price": lambda stripe, _lane, by: stripe.products.create_price(
        {
            "product": "subkeeper_pending",
            "currency": "usd",
            "unit_amount": 0,
            "recurring": {"interval": "month"},
            "lookup_key": "pending",
        },
        key="k4",
        deadline=by,
    ),
    "payment_methods": lambda stripe, lane, by: stripe.showing.payment_methods("cus_1", lane=lane, deadline=by),
    "showing": lambda stripe, lane, by: stripe.showing.customer("cus_1", lane=lane, deadline=by),
    "endpoints": lambda stripe, _lane, by: stripe.webhook_endpoints.all(deadline=by),
    "create_endpoint": lambda stripe, _lane, by: stripe.webhook_endpoints.create(
        {
            "url": "https://example.com/stripe/webhook",
            "enabled_events": list(TYPES),
            "api_version": API_VERSION,
            "description": "Subkeeper (subkeeper)",
            "metadata": {"subkeeper_namespace": "subkeeper", "subkeeper_database": "id"},
        },
        key="k7",
        deadline=by,
    ),
    "update_endpoint": lambda stripe, _lane, by: stripe.webhook_endpoints.update(
        "we_1",
        {"url": "https://example.com/", "enabled_events": list(TYPES), "disabled": False, "metadata": {"a": "b"}},
        key="k8",
        deadline=by,
    ),
    "account_subscription": lambda stripe, _lane, by: stripe.accounts.subscription("sub_1", deadline=by),
    "change_plan": lambda stripe, _lane, by: stripe.accounts.update_subscription(
        "sub_1", plan_request(ON_TRIAL, "price_2", "create_prorations") or {}, key="k9", deadline=by
    ),
    "change_plan_when_paid_for": lambda stripe, _lane, by: stripe.accounts.update_subscription(
        "sub_1",
        plan_request(ON_TRIAL._replace(status="active"), "price_2", "always_invoice") or {},
        key="k10",
        deadline=by,
    ),
    "undo_cancellation": lambda stripe, _lane, by: stripe.accounts.update_subscription(
        "sub_1", canceling_request(ON_TRIAL._replace(cancel_at=1), canceling=False) or {}, key="k11", deadline=by
    ),
    "own_default": lambda stripe, _lane, by: stripe.accounts.update_subscription(
        "sub_1", own_default_request(ON_TRIAL, "pm_1") or {}, key="k12", deadline=by
    ),
    "cancel": cancel,
    "attach": lambda stripe, _lane, by: stripe.accounts.attach("pm_1", "cus_1", key="k14", deadline=by),
    "detach": detach,
    "delete_customer": delete_customer,
    "payment_method": lambda stripe, _lane, by: stripe.accounts.payment_method_customer("pm_1", deadline=by) or True,
    "default_card": default_card,
    "name": lambda stripe, _lane, by: stripe.accounts.update_customer(
        "cus_1", name_request("Ada"), key="k24", deadline=by
    ),
    "no_address": lambda stripe, _lane, by: stripe.accounts.update_customer(
        "cus_1", address_request(None), key="k25", deadline=by
    ),
    "address": lambda stripe, _lane, by: stripe.accounts.update_customer(
        "cus_1", address_request({"city": "London"}), key="k26", deadline=by
    ),
    "tax_ids": lambda stripe, _lane, by: stripe.accounts.tax_ids("cus_1", deadline=by),
    "create_tax_id": lambda stripe, _lane, by: stripe.accounts.create_tax_id(
        "cus_1", TaxId("eu_vat", "DE123456789"), key="k27", deadline=by
    ),
    "delete_tax_id": delete_tax_id,
    "account_customer": lambda stripe, _lane, by: stripe.accounts.customer("cus_1", deadline=by),
    "checkout_that_saves_a_card": lambda stripe, _lane, by: stripe.checkouts.open_checkout(
        setup_request(TERMS, UUID(int=1), "u1", "d1", "cus_1", "sub_1", URLS), key="k16", deadline=by
    ),
    "checkout_that_subscribes": lambda stripe, _lane, by: stripe.checkouts.open_checkout(
        subscription_request(TERMS, UUID(int=1), "u1", "d1", "cus_1", "price_1", URLS), key="k17", deadline=by
    ),
    "checkout": lambda stripe, _lane, by: stripe.checkouts.checkout("cs_1", deadline=by),
    "expire_checkout": expire,
    "pay_invoice": pay,
    "resume": lambda stripe, _lane, by: stripe.checkouts.resume_subscription(
        "sub_1",
        completing_request(Step.RESUME, OWED._replace(status="paused", invoice_status="paid"), "pm_1") or {},
        key="k18",
        deadline=by,
    ),
    **{f"portal_{intent}": open_portal(intent) for intent in Intent},
    "portals": lambda stripe, _lane, by: stripe.portal_configurations.all(deadline=by),
    "create_portal": lambda stripe, _lane, by: stripe.portal_configurations.create(
        {"features": FEATURES, "metadata": {"subkeeper_namespace": "test"}, "name": "Subkeeper"}, key="k19", deadline=by
    ),
    "change_portal": lambda stripe, _lane, by: stripe.portal_configurations.update(
        "bpc_1", {"features": FEATURES}, key="k23", deadline=by
    ),
    "invoice": lambda stripe, _lane, by: stripe.charges.invoice("in_1", deadline=by),
    "pay_by_another_card": lambda stripe, _lane, by: stripe.charges.pay("in_1", "pm_1", key="k25", deadline=by),
    "clock": lambda stripe, _lane, by: stripe.charges.now("clock_1", deadline=by),
    "test_clock": clock_ahead,
    "delete_endpoint": lambda stripe, _lane, by: stripe.webhook_endpoints.delete("we_1", deadline=by),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_stripe_would_understand_each_of_our_requests(new_gateway: NewGateway, mock_url: str, name: str) -> None:
    assert REQUESTS[name](new_gateway(mock_url), Lane.LIVE, Deadline.after(10)) is not None


def test_stripe_mock_would_tell(new_gateway: NewGateway, mock_url: str) -> None:
    with pytest.raises(Refused):
        new_gateway(mock_url).create_customer({"nope": 1}, key="k5", lane=Lane.LIVE, deadline=Deadline.after(10))


def test_every_public_request_of_the_gateway_is_checked_here() -> None:
    helpers = {"reload", "configured_key", "close", "opened_on", "try_reading"}  # the last sends lists that others send
    asked = (AccountCalls, ChargeCalls, CheckoutCalls, PortalConfigurations, Products, Showing, WebhookEndpoints)
    methods = {*vars(StripeGateway), *(name for calls in asked for name in vars(calls))}
    public = {name for name in methods if not name.startswith("_")} - helpers
    assert public <= {name for request in REQUESTS.values() for name in request.__code__.co_names}

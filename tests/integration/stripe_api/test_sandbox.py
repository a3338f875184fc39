"""The gateway and the sandbox's Stripe, which keeps state: what is created is found, and a key protects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.integration.stripe_api.conftest import WEIGHTS, NewGateway
from worker.domain.deadline import Deadline
from worker.domain.lanes import Lane
from worker.domain.provisioning import customer_request, user_digest
from worker.domain.stripe_facts import ExpandedCustomer, PriceFact
from worker.stripe_api.errors import (
    CursorGone,
    CustomerGone,
    FieldRefused,
    KeyBurnt,
    SharedRefusal,
    TrialPassed,
    Unauthorized,
    Unclear,
)
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.limiter.limiter import Limiter

EMAIL = "ada@example.org"
DIGEST = user_digest("test", "u1")
PROFILE = customer_request("test", "u1", EMAIL, "Ada")


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    with StripeServer(seed="stripe-api") as server:
        yield server


@pytest.fixture
def control(stripe: StripeServer) -> Control:
    return Control(stripe.url)


@pytest.fixture
def gateway(new_gateway: NewGateway, stripe: StripeServer) -> StripeGateway:
    return new_gateway(stripe.url, secret_key=lambda: stripe.secret_key)


def soon() -> Deadline:
    return Deadline.after(20)


def make_customer(gateway: StripeGateway, key: str = "k-customer", **changes: object) -> str:
    made = gateway.create_customer({**PROFILE, **changes}, key=key, lane=Lane.LIVE, deadline=soon())
    return made.value.id


def make_price(gateway: StripeGateway) -> PriceFact:
    product = gateway.products.create({"id": "subkeeper_pending", "name": "Pending"}, key="k-product", deadline=soon())
    params = {"product": product.id, "currency": "usd", "unit_amount": 0, "lookup_key": "pending"}
    return gateway.products.create_price({**params, "recurring": {"interval": "month"}}, key="k-price", deadline=soon())


def subscription(customer: str, price: str, days: float = 31) -> dict[str, object]:
    return {
        "customer": customer,
        "items": [{"price": price}],
        "trial_end": int(time.time() + days * 86_400),
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        "billing_mode": {"type": "flexible"},
        "metadata": {"subkeeper": DIGEST, "user_id": "u1"},
    }


def test_the_account_is_the_one_behind_the_key(gateway: StripeGateway, stripe: StripeServer) -> None:
    account = gateway.account(soon())
    assert (account.id, account.livemode) == (stripe.account, False)


def test_a_customer_is_found_by_every_way_of_looking(gateway: StripeGateway) -> None:
    made = make_customer(gateway)
    by_email = gateway.customers_page(email=EMAIL, lane=Lane.LIVE, deadline=soon())
    newest = gateway.customers_page(until=gateway.clock.now() + timedelta(minutes=10), lane=Lane.LIVE, deadline=soon())
    older = gateway.customers_page(until=gateway.clock.now() - timedelta(minutes=10), lane=Lane.LIVE, deadline=soon())
    assert [(each.id, each.user_digest) for each in by_email.customers] == [(made, DIGEST)]
    assert [each.id for each in newest.customers] == [made]
    assert older.customers == []


def test_a_list_whose_cursor_is_not_there_any_more_is_nobodys_fault(gateway: StripeGateway) -> None:
    make_customer(gateway)
    with pytest.raises(CursorGone):
        gateway.customers_page(after="cus_none", lane=Lane.LIVE, deadline=soon())


def test_search_finds_it_once_it_has_caught_up(gateway: StripeGateway, control: Control) -> None:
    made = make_customer(gateway)
    control.search_lag(0)
    found = gateway.customers_by_digest_search([DIGEST, "another"], lane=Lane.LIVE, deadline=soon())
    assert [each.id for each in found] == [made]


def test_a_subscription_is_created_and_listed(gateway: StripeGateway) -> None:
    price, customer = make_price(gateway), make_customer(gateway)
    params = subscription(customer, price.id)
    made = gateway.create_subscription(params, key="k-sub", lane=Lane.LIVE, deadline=soon())
    assert made.value.status == "trialing"
    assert made.value.price_lookup_key == "pending"
    assert made.value.user_digest == DIGEST
    assert made.value.trial_end is not None
    assert int(made.value.trial_end.timestamp()) == params["trial_end"]
    assert made.seen_from <= made.value.created + timedelta(seconds=1)
    listed = gateway.subscriptions_of(customer, lane=Lane.LIVE, deadline=soon())
    (found,) = listed.value
    assert found.customer == ExpandedCustomer(None)
    assert replace(found, customer=None) == made.value
    assert listed.seen_from < listed.seen_to


def test_the_catalogue_is_found_again(gateway: StripeGateway) -> None:
    assert gateway.prices(["pending"], deadline=soon()) == {}
    assert gateway.products.find("subkeeper_pending", deadline=soon()) is None
    made = make_price(gateway)
    assert gateway.prices(["pending"], deadline=soon()) == {"pending": made}
    assert gateway.products.find("subkeeper_pending", deadline=soon()) is not None


def test_the_same_key_brings_the_same_customer(gateway: StripeGateway) -> None:
    first = gateway.create_customer(PROFILE, key="k", lane=Lane.LIVE, deadline=soon())
    again = gateway.create_customer(PROFILE, key="k", lane=Lane.LIVE, deadline=soon())
    assert (first.replayed, again.replayed) == (False, True)
    assert first.value == again.value


def test_the_same_key_with_other_parameters_is_burnt(gateway: StripeGateway) -> None:
    make_customer(gateway)
    with pytest.raises(KeyBurnt):
        make_customer(gateway, email="other@example.org")


def test_a_saved_500_burns_the_key(gateway: StripeGateway, control: Control) -> None:
    control.fault("status", status=500, sticky=True, times=1, match={"path": "/v1/customers"})
    with pytest.raises(Unclear):
        make_customer(gateway)
    with pytest.raises(KeyBurnt):
        make_customer(gateway)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_connection_leaves_one_customer(gateway: StripeGateway, control: Control, when: str) -> None:
    control.fault("drop", when=when, times=1)
    made = make_customer(gateway)
    assert [row["id"] for row in control.state()["customers"]] == [made]


def test_an_email_that_stripe_refuses_is_named_and_not_repeated(
    gateway: StripeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FieldRefused) as raised:
        make_customer(gateway, email="nobody-at-nowhere")
    assert raised.value.field == "email"
    assert "nobody-at" not in capsys.readouterr().out + str(raised.value)


def test_a_trial_that_has_passed_is_told_apart(gateway: StripeGateway) -> None:
    params = subscription(make_customer(gateway), make_price(gateway).id, days=-1)
    with pytest.raises(TrialPassed):
        gateway.create_subscription(params, key="k-sub", lane=Lane.LIVE, deadline=soon())


def test_a_price_that_is_not_there_is_everybodys_matter(gateway: StripeGateway) -> None:
    params = subscription(make_customer(gateway), "price_none")
    with pytest.raises(SharedRefusal):
        gateway.create_subscription(params, key="k-sub", lane=Lane.LIVE, deadline=soon())


def test_a_customer_that_is_not_there_is_gone(gateway: StripeGateway) -> None:
    price = make_price(gateway)
    with pytest.raises(CustomerGone):
        gateway.create_subscription(subscription("cus_none", price.id), key="k-sub", lane=Lane.LIVE, deadline=soon())
    with pytest.raises(CustomerGone):
        gateway.customer("cus_none", lane=Lane.LIVE, deadline=soon())


def test_a_revoked_key_is_for_a_person(gateway: StripeGateway, stripe: StripeServer, control: Control) -> None:
    control.put_key(stripe.secret_key, revoked=True)
    with pytest.raises(Unauthorized):
        gateway.account(soon())


def test_stripes_time_follows_stripes_clock(gateway: StripeGateway, control: Control) -> None:
    there = control.jump(86_400)
    make_customer(gateway)
    assert abs(gateway.clock.now().timestamp() - there) < 30


def test_a_429_slows_us_and_is_tried_again_at_once(
    new_gateway: NewGateway, stripe: StripeServer, control: Control
) -> None:
    limiter = Limiter(50, 50, weights=WEIGHTS)
    gateway = new_gateway(stripe.url, secret_key=lambda: stripe.secret_key, limiter=limiter)
    control.fault("status", status=429, reason="global-rate", times=1)
    assert make_customer(gateway)
    assert limiter.rates()["account"] < 40

"""The unmodified `stripe` client, from a customer's creation to its deletion."""

from __future__ import annotations

import time

import pytest
import stripe

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.support.waiting import wait_until

DAY = 86_400


def _trial(client: stripe.StripeClient, customer: str, price: str) -> stripe.Subscription:
    return client.v1.subscriptions.create(
        {
            "customer": customer,
            "items": [{"price": price}],
            "trial_end": int(time.time()) + 31 * DAY,
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
            "billing_mode": {"type": "flexible"},
            "metadata": {"user_id": "u1"},
            "expand": ["latest_invoice", "customer"],
        }
    )


def test_the_account_is_the_seeds(client: stripe.StripeClient, server: StripeServer) -> None:
    assert client.v1.accounts.retrieve_current().id == server.account


def test_a_customer_is_what_was_last_said_of_it(client: stripe.StripeClient) -> None:
    created = client.v1.customers.create({"email": "ada@example.com", "name": "Ada", "metadata": {"user_id": "u1"}})
    client.v1.customers.update(created.id, {"name": "Ada L.", "metadata": {"plan": "x", "user_id": ""}})
    found = client.v1.customers.retrieve(created.id)
    assert found.metadata is not None
    assert (found.email, found.name, found.metadata.to_dict()) == ("ada@example.com", "Ada L.", {"plan": "x"})
    assert found.livemode is False


def test_a_deleted_customer_leaves_lists_and_answers_as_deleted(client: stripe.StripeClient, price: str) -> None:
    customer = client.v1.customers.create({"email": "ada@example.com"})
    subscription = _trial(client, customer.id, price)
    client.v1.customers.delete(customer.id)
    assert client.v1.customers.retrieve(customer.id).to_dict() == {
        "id": customer.id,
        "object": "customer",
        "deleted": True,
    }
    assert client.v1.customers.list({"email": "ada@example.com"}).data == []
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        _trial(client, customer.id, price)
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, "resource_missing", "customer")


def test_a_trial_subscription_starts_with_a_paid_invoice_of_nothing(client: stripe.StripeClient, price: str) -> None:
    customer = client.v1.customers.create({"email": "ada@example.com"})
    subscription = _trial(client, customer.id, price)
    assert subscription.status == "trialing"
    assert isinstance(subscription.latest_invoice, stripe.Invoice)
    assert (subscription.latest_invoice.status, subscription.latest_invoice.total) == ("paid", 0)
    assert isinstance(subscription.customer, stripe.Customer)
    item = client.v1.subscriptions.retrieve(subscription.id).to_dict()["items"]["data"][0]
    assert item["price"]["lookup_key"] == "pending"
    assert item["current_period_end"] == subscription.trial_end


def test_a_subscription_is_updated_and_canceled(client: stripe.StripeClient, price: str) -> None:
    customer = client.v1.customers.create({})
    subscription = _trial(client, customer.id, price)
    updated = client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True, "metadata": {"a": "b"}})
    assert (updated.cancel_at, updated.metadata["user_id"], updated.metadata["a"]) == (updated.trial_end, "u1", "b")
    assert client.v1.subscriptions.cancel(subscription.id).status == "canceled"
    assert client.v1.subscriptions.list({"customer": customer.id}).data == []
    everything = client.v1.subscriptions.list({"customer": customer.id, "status": "all"})
    assert [row.id for row in everything.data] == [subscription.id]
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        client.v1.subscriptions.cancel(subscription.id)


def test_auto_paging_meets_every_customer_once_in_both_directions(client: stripe.StripeClient) -> None:
    ids = [client.v1.customers.create({"metadata": {"n": str(n)}}).id for n in range(25)]
    forward = [row.id for row in client.v1.customers.list({"limit": 10}).auto_paging_iter()]
    assert forward == ids[::-1]
    back = client.v1.customers.list({"limit": 10, "ending_before": ids[0]})
    assert [row.id for row in back.auto_paging_iter()] == ids[1:]


def test_a_price_is_found_by_its_lookup_key_which_moves_on_request(client: stripe.StripeClient, price: str) -> None:
    product = client.v1.prices.retrieve(price).product
    assert isinstance(product, str)
    terms: stripe.params.PriceCreateParams = {
        "product": product,
        "currency": "usd",
        "unit_amount": 900,
        "recurring": {"interval": "month"},
        "lookup_key": "pending",
    }
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        client.v1.prices.create(terms)
    moved = client.v1.prices.create({**terms, "transfer_lookup_key": True})
    assert [row.id for row in client.v1.prices.list({"lookup_keys": ["pending"]}).data] == [moved.id]
    assert client.v1.prices.retrieve(price).lookup_key is None


def test_every_error_becomes_the_clients_own(
    client: stripe.StripeClient, control: Control, server: StripeServer
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.customers.retrieve("cus_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as email:
        client.v1.customers.create({"email": "not an address"})
    assert (email.value.code, email.value.param) == ("email_invalid", "email")
    control.fault("status", status=429, times=1)
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.list()
    control.fault("status", status=500, times=1)
    with pytest.raises(stripe.APIError):
        client.v1.customers.list()
    control.fault("drop", times=1)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.list()
    control.put_key(server.secret_key, revoked=True)
    with pytest.raises(stripe.AuthenticationError):
        client.v1.customers.list()


def test_a_repeated_request_answers_from_memory(client: stripe.StripeClient) -> None:
    first = client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
    again = client.v1.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
    assert again.id == first.id
    assert first.last_response is not None
    assert again.last_response is not None
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"email": "b@example.com"}, {"idempotency_key": "k"})


def test_events_tell_the_story_in_order(client: stripe.StripeClient, price: str) -> None:
    customer = client.v1.customers.create({"name": "Ada"})
    _trial(client, customer.id, price)
    client.v1.customers.update(customer.id, {"name": "Eve"})
    client.v1.customers.delete(customer.id)
    kinds = ["customer.created", "customer.subscription.created", "customer.updated"]
    kinds += ["customer.subscription.deleted", "customer.deleted"]
    found = list(client.v1.events.list({"types": kinds}).auto_paging_iter())
    assert [event.type for event in found] == kinds[::-1]
    assert found[2].data.to_dict()["previous_attributes"] == {"name": "Ada"}
    assert found[0].request is not None
    assert found[0].request.id is not None


def test_a_trial_ends_on_a_test_clock_with_a_card_that_pays_and_one_that_does_not(
    client: stripe.StripeClient, server: StripeServer
) -> None:
    """The clock advances while nobody asks."""
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": int(time.time())})
    price = client.v1.prices.create(
        {"currency": "usd", "unit_amount": 500, "recurring": {"interval": "month"}, "product_data": {"name": "Paid"}}
    )
    subscriptions = {}
    for card in ("pm_card_visa", "pm_card_chargeCustomerFail"):
        customer = client.v1.customers.create({"test_clock": clock.id})
        method = client.v1.payment_methods.attach(card, {"customer": customer.id})
        client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
        subscriptions[card] = _trial(client, customer.id, price.id)
    end = subscriptions["pm_card_visa"].trial_end
    assert end is not None
    client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": end + 7200})
    wait_until(lambda: not server.service.ledger.advancing)
    assert client.v1.test_helpers.test_clocks.retrieve(clock.id).status == "ready"
    found = {card: client.v1.subscriptions.retrieve(row.id).status for card, row in subscriptions.items()}
    assert found == {"pm_card_visa": "active", "pm_card_chargeCustomerFail": "past_due"}
    with pytest.raises(stripe.CardError) as caught:
        client.v1.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer.id})
    assert (caught.value.http_status, caught.value.code) == (402, "card_declined")
    client.v1.test_helpers.test_clocks.delete(clock.id)

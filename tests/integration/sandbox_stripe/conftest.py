"""A Stripe of each test's own (it starts in milliseconds), and ways to talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.integration.sandbox_stripe.raw import Raw
from tests.support.browser import Browser


@pytest.fixture
def server() -> Iterator[StripeServer]:
    with StripeServer(seed="tests") as server:
        yield server


@pytest.fixture
def control(server: StripeServer) -> Control:
    return Control(server.url)


@pytest.fixture
def raw(server: StripeServer) -> Raw:
    return Raw(server.url, server.secret_key)


@pytest.fixture
def http_client() -> Iterator[stripe.HTTPClient]:
    client = stripe.RequestsClient(timeout=5)
    yield client
    client.close()  # type: ignore[no-untyped-call]  # the library's own


@pytest.fixture
def client(server: StripeServer, http_client: stripe.HTTPClient) -> stripe.StripeClient:
    """The unmodified client, which retries nothing by itself."""
    return stripe.StripeClient(
        server.secret_key, base_addresses={"api": server.url}, http_client=http_client, max_network_retries=0
    )


@pytest.fixture
def price(raw: Raw) -> str:
    """The Pending plan's price."""
    answer = raw(
        "POST",
        "/v1/prices",
        {
            "currency": "usd",
            "unit_amount": 0,
            "recurring[interval]": "month",
            "lookup_key": "pending",
            "product_data[name]": "Pending",
        },
    )
    return str(answer.body["id"])


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
def customer(raw: Raw) -> str:
    return str(raw.post("/v1/customers", email="a@example.com").body["id"])


@pytest.fixture
def plans(raw: Raw) -> list[str]:
    """Of one product, 5 and 20 dollars a month."""
    product = raw.post("/v1/products", name="Pro").body["id"]
    terms = {"currency": "usd", "recurring[interval]": "month", "product": product}
    return [raw("POST", "/v1/prices", {**terms, "unit_amount": amount}).body["id"] for amount in (500, 2000)]

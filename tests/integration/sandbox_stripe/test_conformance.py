"""Every shape that is answered fits Stripe's published OpenAPI description."""

from __future__ import annotations

import re

import pytest

from sandbox.stripe.control import Control
from sandbox.stripe.events.types import TYPES
from sandbox.stripe.routes import ROUTES
from tests.integration.sandbox_stripe.raw import Raw
from tests.stripe_spec import answer_problem, event_types, known_parameters, object_problem, paths


@pytest.fixture
def order(raw: Raw, price: str) -> dict[str, object]:
    customer = raw("POST", "/v1/customers", {"email": "a@example.com", "address[city]": "Ulm"}).body["id"]
    return {"customer": customer, "items[0][price]": price, "trial_period_days": 31, "metadata[user_id]": "u1"}


def test_what_is_read_and_listed_fits(raw: Raw, order: dict[str, object]) -> None:
    subscription = raw("POST", "/v1/subscriptions", order).body
    assert answer_problem("POST", "/v1/subscriptions", subscription) is None
    named = {
        "/v1/account": "",
        "/v1/customers/{customer}": order["customer"],
        "/v1/prices/{price}": order["items[0][price]"],
        "/v1/products/{id}": subscription["items"]["data"][0]["price"]["product"],
        "/v1/subscriptions/{subscription_exposed_id}": subscription["id"],
        "/v1/invoices/{invoice}": subscription["latest_invoice"],
        "/v1/events/{id}": raw.get("/v1/events").body["data"][0]["id"],
    }
    for path, identifier in named.items():
        answer = raw.get(path.partition("{")[0] + str(identifier))
        assert (answer.status, answer_problem("GET", path, answer.body)) == (200, None), path


@pytest.mark.parametrize("kind", ["customers", "prices", "products", "subscriptions", "invoices", "events"])
def test_a_list_fits(raw: Raw, order: dict[str, object], kind: str) -> None:
    raw("POST", "/v1/subscriptions", order)
    answer = raw.get(f"/v1/{kind}")
    assert answer.body["data"]
    assert answer_problem("GET", f"/v1/{kind}", answer.body) is None


@pytest.mark.parametrize("kind", ["customers", "invoices", "prices", "products", "subscriptions"])
def test_a_search_fits(raw: Raw, order: dict[str, object], kind: str) -> None:
    raw("POST", "/v1/subscriptions", order)
    query = "active:'true'" if kind in ("prices", "products") else "created>0"
    answer = raw.get(f"/v1/{kind}/search", query=query)
    assert answer.body["data"]
    assert answer_problem("GET", f"/v1/{kind}/search", answer.body) is None


def test_what_is_expanded_fits(raw: Raw, order: dict[str, object]) -> None:
    expand = {"expand[0]": "customer", "expand[1]": "latest_invoice.customer", "expand[2]": "items.data.price.product"}
    answer = raw("POST", "/v1/subscriptions", {**order, **expand}).body
    assert answer["latest_invoice"]["customer"]["object"] == "customer"
    assert object_problem("subscription", answer) is None


@pytest.mark.parametrize("behavior", ["pause", "cancel", "create_invoice"])
def test_a_subscription_after_its_trial_and_its_invoices_fit(
    raw: Raw, control: Control, order: dict[str, object], behavior: str
) -> None:
    settings = {"trial_settings[end_behavior][missing_payment_method]": behavior, "billing_mode[type]": "classic"}
    identifier = raw("POST", "/v1/subscriptions", {**order, **settings}).body["id"]
    control.jump(40 * 86_400)
    assert object_problem("subscription", raw.get(f"/v1/subscriptions/{identifier}").body) is None
    assert answer_problem("GET", "/v1/invoices", raw.get("/v1/invoices").body) is None


def test_cards_and_what_they_pay_fit(raw: Raw, control: Control) -> None:
    """Each kind of card, from its attachment over a renewal to the last attempt."""
    sent = {"currency": "usd", "unit_amount": 500, "recurring[interval]": "month", "product_data[name]": "Paid"}
    price = raw("POST", "/v1/prices", sent).body["id"]
    cards = ("pm_card_visa", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired")
    for card in cards:
        customer = raw.post("/v1/customers").body["id"]
        intent = raw.post("/v1/setup_intents", customer=customer).body
        confirmed = raw.post(f"/v1/setup_intents/{intent['id']}/confirm", payment_method=card).body
        assert (object_problem("setup_intent", intent), object_problem("setup_intent", confirmed)) == (None, None)
        method = raw.post(f"/v1/payment_methods/{card}/attach", customer=customer).body
        assert object_problem("payment_method", method) is None
        order = {"customer": customer, "items[0][price]": price, "default_payment_method": method["id"]}
        subscription = raw("POST", "/v1/subscriptions", {**order, "expand[0]": "latest_invoice.payments"}).body
        assert object_problem("subscription", subscription) is None
        payment = subscription["latest_invoice"]["payments"]["data"][0]["payment"]["payment_intent"]
        assert (
            answer_problem("GET", "/v1/payment_intents/{intent}", raw.get(f"/v1/payment_intents/{payment}").body)
            is None
        )
        listed = raw.get("/v1/payment_methods", customer=customer).body
        assert answer_problem("GET", "/v1/payment_methods", listed) is None
    declined = raw.post("/v1/payment_methods/pm_card_chargeDeclined/attach", customer=customer)
    assert (declined.status, object_problem("error", declined.body)) == (402, None)
    control.jump(50 * 86_400)
    for kind in ("invoices", "subscriptions", "invoice_payments", "events"):
        assert answer_problem("GET", f"/v1/{kind}", raw.get(f"/v1/{kind}", limit=100).body) is None


def test_a_test_clock_fits_in_each_of_its_states(raw: Raw) -> None:
    path = "/v1/test_helpers/test_clocks"
    clock = raw.post(path, frozen_time=1_800_000_000).body
    advanced = raw.post(f"{path}/{clock['id']}/advance", frozen_time=1_800_000_001).body
    for answer in (clock, advanced, raw.get(f"{path}/{clock['id']}").body):
        assert object_problem("test_helpers.test_clock", answer) is None
    assert answer_problem("GET", path, raw.get(path).body) is None
    assert object_problem("deleted_test_helpers.test_clock", raw("DELETE", f"{path}/{clock['id']}").body) is None


def test_webhook_endpoints_fit(raw: Raw) -> None:
    path, named = "/v1/webhook_endpoints", "/v1/webhook_endpoints/{webhook_endpoint}"
    made = raw("POST", path, {"url": "http://127.0.0.1:9/hook", "enabled_events[0]": "customer.created"}).body
    assert answer_problem("POST", path, made) is None
    assert answer_problem("GET", path, raw.get(path).body) is None
    assert answer_problem("POST", named, raw.post(f"{path}/{made['id']}", disabled="true").body) is None
    assert answer_problem("GET", named, raw.get(f"{path}/{made['id']}").body) is None
    assert answer_problem("DELETE", named, raw("DELETE", f"{path}/{made['id']}").body) is None


def test_an_endpoint_may_listen_to_every_type_that_stripe_has() -> None:
    assert TYPES | {"*"} == event_types()


def test_tax_ids_fit_and_are_expanded_of_a_customer(raw: Raw) -> None:
    customer = raw.post("/v1/customers").body["id"]
    path, named = f"/v1/customers/{customer}/tax_ids", "/v1/customers/{customer}/tax_ids"
    made = raw.post(path, type="eu_vat", value="DE123456789").body
    assert answer_problem("POST", named, made) is None
    assert answer_problem("GET", named, raw.get(path).body) is None
    expanded = raw("GET", f"/v1/customers/{customer}?expand[]=tax_ids").body
    assert (object_problem("customer", expanded), expanded["tax_ids"]["data"]) == (None, [made])


def test_a_detached_card_fits_and_is_in_no_list_any_more(raw: Raw) -> None:
    customer = raw.post("/v1/customers").body["id"]
    card = raw.post("/v1/payment_methods/pm_card_visa/attach", customer=customer).body["id"]
    path = "/v1/payment_methods/{payment_method}/detach"
    assert answer_problem("POST", path, raw.post(f"/v1/payment_methods/{card}/detach").body) is None
    assert raw.get("/v1/payment_methods", customer=customer).body["data"] == []
    again = raw.post(f"/v1/payment_methods/{card}/attach", customer=customer)
    assert (again.status, object_problem("error", again.body)) == (400, None)


def test_what_is_deleted_or_canceled_fits(raw: Raw, order: dict[str, object]) -> None:
    subscription = raw("POST", "/v1/subscriptions", order).body["id"]
    canceled = raw("DELETE", f"/v1/subscriptions/{subscription}").body
    assert object_problem("subscription", canceled) is None
    for _ in range(2):
        customer = raw("GET", f"/v1/customers/{order['customer']}").body
        name = "deleted_customer" if customer.get("deleted") else "customer"
        assert object_problem(name, customer) is None
        raw("DELETE", f"/v1/customers/{order['customer']}")
    product = raw.post("/v1/products", name="P").body["id"]
    assert object_problem("deleted_product", raw("DELETE", f"/v1/products/{product}").body) is None


def test_errors_fit(raw: Raw, control: Control) -> None:
    control.fault("status", status=500, match={"path": "/v1/prices"})
    control.fault("status", status=429, match={"path": "/v1/products"})
    answers = [
        raw.get("/v1/customers/cus_none"),
        raw.post("/v1/customers", email="x"),
        raw("GET", "/v1/customers", Authorization=""),
        raw.get("/v1/prices"),
        raw.get("/v1/products"),
        raw.get("/v1/nothing"),
    ]
    assert [answer.status for answer in answers] == [404, 400, 401, 500, 429, 404]
    assert [object_problem("error", answer.body) for answer in answers] == [None] * 6


def test_the_description_would_notice_a_wrong_shape(raw: Raw, order: dict[str, object]) -> None:
    subscription = raw("POST", "/v1/subscriptions", order).body
    assert object_problem("subscription", {**subscription, "status": "sleeping"}) is not None
    assert object_problem("subscription", {**subscription, "trial_end": "soon"}) is not None
    assert object_problem("customer", {"id": "cus_x", "object": "customer"}) is not None


@pytest.mark.parametrize(("method", "path"), list(ROUTES), ids=" ".join)
def test_nothing_is_taken_that_stripe_would_not_take(method: str, path: str) -> None:
    described = {re.sub(r"{[a-z_]+}", "*", known): known for known in paths()}
    taken = set(ROUTES[method, path].spec.fields)
    assert taken <= known_parameters(method, described[path])

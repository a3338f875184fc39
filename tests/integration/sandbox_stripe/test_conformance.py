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


def _misshapen_events(raw: Raw) -> list[tuple[str, str]]:
    """What is wrong with the newest events, or with what they are about."""
    listed = raw.get("/v1/events", limit=100).body
    found = [("a list", answer_problem("GET", "/v1/events", listed))]
    for event in listed["data"]:
        told = event["data"]["object"]
        found.append((event["type"], object_problem(told["object"], told)))
    return [(kind, problem) for kind, problem in found if problem is not None]


def test_checkout_sessions_fit_in_each_of_their_states(raw: Raw, order: dict[str, object]) -> None:
    path, named = "/v1/checkout/sessions", "/v1/checkout/sessions/{session}"
    address = {"success_url": "https://example.com/?s={CHECKOUT_SESSION_ID}", "cancel_url": "https://example.com/"}
    setup = {"mode": "setup", "currency": "usd", "customer": order["customer"], **address}
    items = {"line_items[0][price]": order["items[0][price]"], "line_items[0][quantity]": 1}
    trial = {"subscription_data[trial_period_days]": 7, "subscription_data[metadata][a]": "b"}
    subscribing = {"mode": "subscription", **items, **trial, **address, "expand[0]": "line_items"}
    for sent in (setup, subscribing):
        session = raw("POST", path, sent).body
        assert answer_problem("POST", path, session) is None
        assert answer_problem("GET", named, raw.get(f"{path}/{session['id']}").body) is None
        listed = raw.get(f"{path}/{session['id']}/line_items").body
        assert answer_problem("GET", f"{named}/line_items", listed) is None
        assert answer_problem("POST", named, raw("POST", f"{path}/{session['id']}", {"metadata[a]": "b"}).body) is None
        expired = raw.post(f"{path}/{session['id']}/expire").body
        assert (expired["status"], answer_problem("POST", f"{named}/expire", expired)) == ("expired", None)
    assert answer_problem("GET", path, raw.get(path).body) is None
    assert _misshapen_events(raw) == []


def test_the_portal_s_configurations_and_sessions_fit(raw: Raw, order: dict[str, object]) -> None:
    path, named = "/v1/billing_portal/configurations", "/v1/billing_portal/configurations/{configuration}"
    subscription = raw("POST", "/v1/subscriptions", order).body
    update = "features[subscription_update]"
    features = {
        f"{update}[enabled]": "true",
        f"{update}[default_allowed_updates][0]": "price",
        f"{update}[products][0][product]": subscription["items"]["data"][0]["price"]["product"],
        f"{update}[products][0][prices][0]": order["items[0][price]"],
        "features[subscription_cancel][enabled]": "true",
        "features[subscription_cancel][cancellation_reason][enabled]": "true",
        "features[subscription_cancel][cancellation_reason][options][0]": "unused",
        "features[payment_method_update][enabled]": "true",
    }
    bare = raw("POST", path, {"features[invoice_history][enabled]": "true"}).body
    made = raw("POST", path, {**features, "metadata[a]": "b", "default_return_url": "https://example.com/"}).body
    assert (answer_problem("POST", path, bare), answer_problem("POST", path, made)) == (None, None)
    changed = raw("POST", f"{path}/{made['id']}", {"features[subscription_cancel][mode]": "immediately"}).body
    assert answer_problem("POST", named, changed) is None
    assert answer_problem("GET", named, raw.get(f"{path}/{made['id']}").body) is None
    assert answer_problem("GET", path, raw.get(path, active="true").body) is None
    asked = {"customer": order["customer"], "configuration": made["id"]}
    flows: list[dict[str, object]] = [
        {},
        {"flow_data[type]": "payment_method_update"},
        *(
            {"flow_data[type]": kind, f"flow_data[{kind}][subscription]": subscription["id"]}
            for kind in ("subscription_cancel", "subscription_update")
        ),
    ]
    flows[1] |= {"flow_data[after_completion][type]": "hosted_confirmation"}
    flows[2] |= {
        "flow_data[after_completion][type]": "redirect",
        "flow_data[after_completion][redirect][return_url]": "https://example.com/done",
    }
    for flow in flows:
        session = raw("POST", "/v1/billing_portal/sessions", {**asked, **flow}).body
        assert answer_problem("POST", "/v1/billing_portal/sessions", session) is None
    assert _misshapen_events(raw) == []


def test_prorations_and_their_invoices_fit(raw: Raw, control: Control) -> None:
    prices = []
    for amount in (5000, 500):
        sent = {"currency": "usd", "unit_amount": amount, "recurring[interval]": "month", "product_data[name]": "Paid"}
        prices.append(raw("POST", "/v1/prices", sent).body["id"])
    customer = raw.post("/v1/customers").body["id"]
    card = raw.post("/v1/payment_methods/pm_card_visa/attach", customer=customer).body["id"]
    order = {"customer": customer, "items[0][price]": prices[0], "default_payment_method": card}
    subscription = raw("POST", "/v1/subscriptions", order).body
    control.jump(10 * 86_400)
    item = subscription["items"]["data"][0]["id"]
    terms = {"items[0][id]": item, "items[0][price]": prices[1], "proration_behavior": "always_invoice"}
    changed = raw("POST", f"/v1/subscriptions/{subscription['id']}", {**terms, "expand[0]": "latest_invoice"}).body
    assert changed["latest_invoice"]["total"] < 0
    assert object_problem("subscription", changed) is None
    items = raw.get("/v1/invoiceitems").body
    assert (len(items["data"]), answer_problem("GET", "/v1/invoiceitems", items)) == (2, None)
    one = raw.get(f"/v1/invoiceitems/{items['data'][0]['id']}").body
    assert answer_problem("GET", "/v1/invoiceitems/{invoiceitem}", one) is None
    assert _misshapen_events(raw) == []


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
    wrong = raw.post(path, type="eu_vat", value="nonsense")
    assert (wrong.status, wrong.body["error"]["code"], wrong.body["error"]["param"]) == (400, "tax_id_invalid", "value")
    gone = raw("DELETE", f"{path}/{made['id']}")
    assert answer_problem("DELETE", f"{named}/{{id}}", gone.body) is None
    assert (raw.get(path).body["data"], raw("DELETE", f"{path}/{made['id']}").status) == ([], 404)
    assert raw("DELETE", f"/v1/customers/cus_x/tax_ids/{made['id']}").body["error"]["param"] == "id"


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


UNDESCRIBED = {("POST", "/v1/payment_pages/*/confirm")}
"""What Stripe's own tools ask without its being documented."""


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in UNDESCRIBED], ids=" ".join)
def test_nothing_is_taken_that_stripe_would_not_take(method: str, path: str) -> None:
    described = {re.sub(r"{[a-z_]+}", "*", known): known for known in paths()}
    taken = set(ROUTES[method, path].spec.fields)
    assert taken <= known_parameters(method, described[path])

"""Payment methods and what is on a bill, over real HTTP, with Postgres and a Stripe behind it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.integration.events.test_payable import add_card, customer_of, make_default
from tests.integration.provisioning.conftest import NewStack, closing, new_stack, stack
from tests.integration.provisioning.test_privacy import dump
from tests.integration.web.callers import Reply, ask, subscribe
from tests.support.jwts import AUDIENCE, ISSUER, SECRET, claims, signed
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token
from worker.runtime.web import Web

__all__ = ["closing", "new_stack", "stack"]

ADMIN = new_token()
API = {
    "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest,
    "SUBKEEPER_API__JWT_SECRET": SECRET,
    "SUBKEEPER_API__JWT_ISSUER": ISSUER,
    "SUBKEEPER_API__JWT_AUDIENCE": AUDIENCE,
}
CARDS, ORDER = "/billing/payment-methods?user_id=", "/billing/payment-methods/order?user_id="


def token(user_id: str, scope: str | None = None) -> str:
    return signed(claims(user_id, scope), SECRET, "HS256", None)


def serve(stack: Stack, **environ: str) -> int:
    """The web process's port."""
    worker = stack.start_worker("web", **API, **environ)
    wait_until(lambda: worker.part("api")[0])
    return cast("Web", worker.process.fronts[0]).http.port


def start(stack: Stack) -> int:
    """With ada, who has a customer."""
    stack.start_worker("profiles")
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    return serve(stack)


def cards(reply: Reply) -> list[str]:
    return [each["id"] for each in reply.body["payment_methods"]]


def order(api: int, body: Any, who: str | None = None, user_id: str = "ada", **headers: str) -> Reply:
    return ask(api, ORDER + user_id, who or token(user_id), "PUT", body, **headers)


def test_cards_are_shown_in_their_order_as_stripe_has_them(stack: Stack) -> None:
    api = start(stack)
    customer = customer_of(stack, "ada")
    assert ask(api, CARDS + "ada", token("ada")).body == {"user_id": "ada", "payment_methods": []}
    first, second = add_card(stack, customer), add_card(stack, customer, "pm_card_mastercard")
    make_default(stack, customer, second)
    shown = ask(api, CARDS + "ada", token("ada"))
    assert (shown.status, cards(shown)) == (200, [first, second])
    told = stack.call_stripe("GET", f"/v1/payment_methods/{first}")["card"]
    assert shown.body["payment_methods"][0] == {
        "id": first,
        "default": False,
        "type": "card",
        "card": {name: told[name] for name in ("brand", "last4", "exp_month", "exp_year")},
    }
    assert cards(order(api, {"payment_methods": [second, first]})) == [second, first]
    third = add_card(stack, customer)
    assert cards(ask(api, CARDS + "ada", ADMIN.token)) == [second, first, third], "a new one goes last"
    stack.call_stripe("POST", f"/v1/payment_methods/{second}/detach")
    wait_until(lambda: cards(ask(api, CARDS + "ada", ADMIN.token)) == [first, third], 10)


@pytest.mark.parametrize(
    ("change", "code", "errors"),
    [
        (lambda ids: ids[:1], "not_those_present", [("/body/payment_methods", "incomplete")]),
        (lambda ids: [*ids, "pm_x"], "not_those_present", [("/body/payment_methods/2", "unknown")]),
        (lambda ids: [*ids, ids[0]], "parameters_wrong", [("/body/payment_methods/2", "repeated")]),
        (lambda ids: [ids[0], "pm x"], "parameters_wrong", [("/body/payment_methods/1", "not_an_id")]),
        (lambda ids: "pm_x", "parameters_wrong", [("/body/payment_methods", "not_a_list")]),
    ],
    ids=["incomplete", "unknown", "repeated", "no id", "no list"],
)
def test_an_order_is_exactly_of_those_that_are_there(
    stack: Stack, change: Any, code: str, errors: list[tuple[str, str]]
) -> None:
    subscribe(stack.database_url, "ada", stripe_subscription_id="sub_1")
    stack.rows("""
        INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)
        SELECT id, unnest(ARRAY['pm_1', 'pm_2']), generate_series(1, 2) FROM billing_customers
    """)
    api = serve(stack)
    reply = order(api, {"payment_methods": change(["pm_1", "pm_2"])})
    assert (reply.status, reply.body["code"]) == (400 if code == "parameters_wrong" else 409, code)
    assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == errors
    assert cards(order(api, {"payment_methods": ["pm_2", "pm_1"]})) == ["pm_2", "pm_1"]


def test_many_are_ordered_as_stripes_ids_are(stack: Stack) -> None:
    """Nothing keeps a user from having so many; one more is told before it is compared."""
    subscribe(stack.database_url, "ada", stripe_subscription_id="sub_1")
    stack.rows("""
        INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)
        SELECT id, 'card_' || lpad(number::text, 24, '0'), number
        FROM billing_customers, generate_series(1, 400) AS number
    """)
    api = serve(stack, STRIPE_SECRET_KEY="")
    present = cards(ask(api, CARDS + "ada", token("ada")))
    assert (len(present), len(present[0])) == (400, 29)
    assert cards(order(api, {"payment_methods": present[::-1]})) == present[::-1]
    refused = order(api, {"payment_methods": [*present, "card_x"]})
    assert [(each["pointer"], each["code"]) for each in refused.body["errors"]] == [
        ("/body/payment_methods", "too_many")
    ]


def test_who_may_read_and_who_may_order(stack: Stack) -> None:
    subscribe(stack.database_url, "ada", stripe_subscription_id="sub_1")
    api = serve(stack, STRIPE_SECRET_KEY="")
    reader, eve = token("eve", "subscriptions:read"), token("eve")
    body: dict[str, list[str]] = {"payment_methods": []}
    for path in (CARDS + "ada", "/billing/customers/ada"):
        statuses = [ask(api, path, who).status for who in (eve, reader, token("ada"), ADMIN.token)]
        assert statuses[0] == 403
        assert 403 not in statuses[1:]
    assert [order(api, body, who).status for who in (eve, reader, token("ada"), ADMIN.token)] == [403, 403, 200, 200]
    assert ask(api, CARDS + "ada").status == 401
    assert ask(api, CARDS + "nobody", ADMIN.token).body["code"] == "no_customer"
    assert ask(api, "/billing/payment-methods", ADMIN.token).body["errors"][0]["pointer"] == "/query/user_id"


def test_a_body_is_a_json_object_of_a_bounded_size(stack: Stack) -> None:
    subscribe(stack.database_url, "ada", stripe_subscription_id="sub_1")
    api = serve(stack, STRIPE_SECRET_KEY="")
    assert order(api, b"{", Content_Type="application/json").body["errors"][0]["code"] == "not_json"
    assert order(api, b"[]", Content_Type="application/json").status == 400
    assert order(api, b"payment_methods=", Content_Type="application/x-www-form-urlencoded").status == 415
    assert order(api, {"payment_methods": ["p" * 255] * 100}).status == 413
    assert order(api, {"payment_methods": [], "x": 1}).body["errors"][0]["pointer"] == "/body/x"
    wrong = ask(api, ORDER + "ada", token("ada"), "POST", {})
    assert (wrong.status, wrong.headers["Allow"]) == (405, "DELETE, PUT"), "where a card's id could be, one is deleted"


def test_without_a_key_ids_and_order_are_shown_and_details_are_not(stack: Stack) -> None:
    subscribe(stack.database_url, "ada", stripe_subscription_id="sub_1")
    stack.rows("""
        INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)
        SELECT id, 'pm_1', 1 FROM billing_customers
    """)
    api = serve(stack, STRIPE_SECRET_KEY="")
    shown = ask(api, CARDS + "ada", token("ada")).body["payment_methods"]
    assert shown == [{"id": "pm_1", "default": False, "type": None, "card": None}]
    refused = ask(api, "/billing/customers/ada", token("ada"))
    assert (refused.status, refused.body["code"]) == (503, "billing-disabled")


def test_what_is_on_a_users_bills_is_read_at_stripe_and_stays_nowhere(stack: Stack) -> None:
    api = start(stack)
    customer = customer_of(stack, "ada")
    secret = {"name": "Qzname", "address[city]": "Qzcity", "address[line1]": "Qzline"}
    stack.call_stripe("POST", f"/v1/customers/{customer}", **secret)
    stack.call_stripe("POST", f"/v1/customers/{customer}/tax_ids", type="eu_vat", value="DE999999999")
    card = add_card(stack, customer)
    with capture_logs() as lines:
        shown = ask(api, "/billing/customers/ada", token("ada"))
        listed = ask(api, CARDS + "ada", token("ada"))
    assert shown.body == {
        "user_id": "ada",
        "stripe_customer": customer,
        "name": "Qzname",
        "address": {
            "city": "Qzcity", "country": None, "line1": "Qzline", "line2": None, "postal_code": None, "state": None,
        },
        "tax_ids": [{"type": "eu_vat", "value": "DE999999999"}],
    }  # fmt: skip
    said = json.dumps(lines, default=str) + dump(stack)
    assert listed.body["payment_methods"][0]["card"]["brand"] == "visa"
    assert [word for word in ("Qzname", "Qzcity", "Qzline", "DE999999999", "visa") if word in said] == []
    assert "request.answered" in said
    assert card in said, "ids are kept"
    stack.call_stripe("DELETE", f"/v1/customers/{customer}")
    assert ask(api, "/billing/customers/ada", token("ada")).status == 404


def test_while_stripe_is_away_what_needs_it_says_so_and_nothing_else_waits(stack: Stack) -> None:
    api = start(stack)
    stack.control.fault("status", match={"path": "/v1/payment_methods"}, status=503)
    reply = ask(api, CARDS + "ada", token("ada"))
    assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "unavailable", "1")
    assert ask(api, "/subscriptions/ada", token("ada")).status == 200
    stack.control.clear_faults()
    stack.control.fault("latency", match={"path": "/v1/payment_methods"}, ms=2000)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(ask, api, CARDS + "ada", token("ada")) for _ in range(8)]
        for _ in range(10):
            assert ask(api, "/subscriptions/ada", token("ada")).status == 200
        assert not any(each.done() for each in waiting)
    stack.control.clear_faults()
    assert ask(api, CARDS + "ada", token("ada")).status == 200


def test_another_accounts_key_shows_nothing(stack: Stack, new_stack: NewStack) -> None:
    start(stack)
    other = new_stack()
    api = serve(stack, SUBKEEPER_STRIPE__API_BASE=other.stripe.url, STRIPE_SECRET_KEY=other.stripe.secret_key)
    with capture_logs() as lines:
        assert [ask(api, CARDS + "ada", token("ada")).status for _ in range(2)] == [503, 503]
    refused = [line["reason"] for line in lines if line["event"] == "api.stripe_refused"]
    assert len(refused) == 1
    assert other.stripe.account in refused[0]
    assert other.requests("GET", "/v1/payment_methods") == []

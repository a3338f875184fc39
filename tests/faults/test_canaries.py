"""Nothing of what Stripe says of a person stays with us: a word in every such field of its objects, sent every way
that there is, through every part and what goes wrong there; and then looked for wherever anything stays."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from bench.deliveries import request, signature
from sandbox.ports import free_port
from sandbox.stripe import service
from sandbox.stripe.events import webhooks
from tests.conftest import NewNsqd
from tests.faults.launcher import Launched, Launcher
from tests.integration.events.test_events import of, subscribe
from tests.integration.provisioning.conftest import NewStack
from tests.integration.provisioning.test_privacy import dump
from tests.integration.web.callers import ask
from tests.support.canaries import WORD, Canaries, found
from tests.support.stack import Http, Stack, profile
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token
from worker.domain.event import TYPES
from worker.events.reading import pruned
from worker.stripe_api.credentials import API_VERSION

ADMIN = new_token()
SECRET = "whsec_of_a_test_of_canaries"
CREATED = "customer.created"
SURELY = {
    "customer.email", "customer.name", "customer.phone", "customer.description", "customer.address.line1",
    "customer.shipping.phone", "customer.tax_ids.data.value", "customer.metadata", "customer.previous.email",
    "payment_method.billing_details.email", "payment_method.card.last4", "invoice.customer_email",
    "invoice.customer_address.city", "invoice.customer_shipping.name", "invoice.customer_tax_ids.value",
    "line_item.description", "checkout.session.customer_details.email", "checkout.session.custom_fields.text.value",
    "subscription.description", "subscription.cancellation_details.comment", "subscription.metadata", "error.message",
}  # fmt: skip
"""Of hundreds; that they are among them shows that the description was read right."""


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """Whatever leaves Stripe has them: answers, lists, events, deliveries, refusals."""
    canaries = Canaries()
    monkeypatch.setattr(service, "_ENCODE", canaries.encode)
    monkeypatch.setattr(webhooks, "_ENCODE", canaries.encode)
    return canaries


@pytest.fixture
def told(new_stack: NewStack, new_nsqd: NewNsqd, canaries: Canaries) -> Stack:
    """A deployment whose endpoint Stripe knows, and which keeps all that a broker may keep."""
    stack = new_stack(
        nsqd=new_nsqd(),
        SUBKEEPER_WEB__PORT=str(free_port()),
        SUBKEEPER_HEALTH__PORT=str(free_port()),
        STRIPE_LOG="debug",
        PYTHONWARNINGS="always",
        STRIPE_WEBHOOK_SECRETS=f"main={SECRET}",
        SUBKEEPER_API__ADMIN_TOKENS=ADMIN.digest,
        SUBKEEPER_STRIPE__MONTHLY_READS="1000000000",
        SUBKEEPER_PLANS__PENDING__UNIT_AMOUNT="900",
    )
    stack.setup()
    stack.nsqd.create_channel(stack.changes_topic, "listener")
    stack.control.listen(url(stack), *TYPES, secret=SECRET)
    stack.control.mishap("drop", match={"type": "customer.updated"})  # which polls bring then
    return stack


def url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.environ['SUBKEEPER_WEB__PORT']}/stripe/webhook"


def deliver(stack: Stack, body: bytes, signed: str | None = None) -> None:
    """As Stripe does."""
    with socket.create_connection(("127.0.0.1", int(stack.environ["SUBKEEPER_WEB__PORT"])), 5) as connection:
        connection.sendall(request(body, signature(SECRET, body, int(time.time())) if signed is None else signed))
        connection.recv(1000)


def event(kind: str, content: object, **changed: Any) -> dict[str, Any]:
    made = {"id": f"evt_{kind.replace('.', '_')}", "object": "event", "type": kind, "created": int(time.time())}
    return {**made, "api_version": API_VERSION, "livemode": False, "data": {"object": content}, **changed}


def live(stack: Stack, user: str) -> None:
    """Every kind of object changes: a card that is declined, one that is taken away, a trial's end, an end."""
    customer, path = str(stack.customers(user)[0]["id"]), f"/v1/subscriptions/{of(stack, user)}"
    stack.call_stripe("POST", f"/v1/customers/{customer}", description="of before")
    taken = stack.call_stripe("POST", "/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    stack.call_stripe("POST", f"/v1/payment_methods/{taken}/detach")
    card = stack.call_stripe("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)["id"]
    stack.call_stripe("POST", f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": card})
    stack.call_stripe("POST", path, trial_end="now")
    stack.control.jump(2 * 3600)  # its invoice is tried
    stack.call_stripe("POST", path, cancel_at_period_end="true")


def go_wrong(stack: Stack, worker: Launched, canaries: Canaries) -> None:
    """What is refused at each step, with what it says in it."""
    heard = pruned(stack.events("customer.subscription.updated")[-1], "webhook")
    unstorable = {
        "id": "evt_unstorable",
        "created": int(time.time()) + 9000,
        "object": {**heard.object, "status": "\0"},
    }
    stack.hear_signed({**heard._asdict(), **unstorable})
    bodies = [
        event("invoice.paid", canaries.of("invoice", id=None)),
        event("invoice.paid", f"{WORD}.data"),
        {f"{WORD}.key": f"{WORD}.value"},
    ]
    for body in bodies:
        deliver(stack, json.dumps(body).encode())
    deliver(stack, f'{{"{WORD}.torn": "'.encode())
    deliver(stack, json.dumps(event(CREATED, canaries.of("customer", id="cus_x"))).encode(), f"t=1,v1={WORD}.signature")
    wait_until(lambda: stack.rows("SELECT 1 FROM quarantined_messages"), what="set aside")
    stack.rows("ALTER TABLE subscription_changes RENAME COLUMN cause TO gone")
    stack.control.fault("status", match={"path": f"/v1/subscriptions/{of(stack, 'ada')}", "method": "GET"}, status=404,
                        times=2)  # fmt: skip
    stack.call_stripe("POST", f"/v1/subscriptions/{of(stack, 'ada')}", cancel_at_period_end="false")
    wait_until(lambda: "UndefinedColumn" in worker.text or "unforeseen" in worker.text, what=worker.text[-300:])
    stack.rows("ALTER TABLE subscription_changes RENAME COLUMN gone TO cause")


def look(stack: Stack, user: str) -> None:
    """Cards and details are shown, and their order is changed."""
    port, path = int(stack.environ["SUBKEEPER_WEB__PORT"]), f"/billing/payment-methods?user_id={user}"
    shown = ask(port, path, ADMIN.token)
    assert found(json.dumps(shown.body)), shown
    assert found(json.dumps(ask(port, f"/billing/customers/{user}", ADMIN.token).body))
    order = {"payment_methods": [each["id"] for each in shown.body["payment_methods"]][::-1]}
    assert ask(port, path.replace("?", "/order?"), ADMIN.token, "PUT", order).status == 200
    assert ask(port, path.replace("?", "/order?"), ADMIN.token, "PUT", {f"{WORD}.property": WORD}).status == 400


def at_rest(stack: Stack) -> bool:
    """Whether all that Stripe has told is processed, and all that changed is told."""
    made = {each["id"] for each in stack.events(*TYPES)}
    waiting = "SELECT 1 FROM subscription_refreshes UNION ALL SELECT 1 FROM subscription_changes WHERE sent_at IS NULL"
    return stack.outcomes().keys() >= made and not stack.rows(waiting)


def answers(launcher: Launcher, stack: Stack) -> dict[str, str]:
    """What each command tells of it all."""
    ids = [each["id"] for each in stack.events("customer.created", "invoice.payment_failed", "customer.updated")][:3]
    (aside,) = stack.rows("SELECT id FROM quarantined_messages LIMIT 1")
    stack.rows(
        "UPDATE billing_subscriptions SET canceling = NOT canceling WHERE stripe_subscription_id = %s", of(stack, "bob")
    )
    lines = [
        ("verify",), ("verify", "--repair", "--json"), ("explain", "ada"), ("explain", "ada", "--json"),
        ("events", "list"), ("events", "show", ids[0]), ("events", "show", ids[1], "--json"),
        ("events", "replay", *ids, "--dry-run"), ("events", "replay", *ids, "--json"),
        ("quarantine", "list", "--json"), ("quarantine", "show", str(aside["id"])), ("provisioning", "show", "ada"),
    ]  # fmt: skip
    told = {" ".join(line): launcher.start(stack.environ, line) for line in lines}
    codes = {line: command.await_end() for line, command in told.items()}
    assert codes["verify"] == 1, "it has something to tell"
    assert set(codes.values()) <= {0, 1}, codes
    return {line: command.text for line, command in told.items()}


def test_nothing_that_stripe_says_of_a_person_stays_anywhere(
    launcher: Launcher, told: Stack, canaries: Canaries
) -> None:
    stack = told
    worker, http = launcher.start(stack.environ, ("run", "all")), Http()
    wait_until(lambda: "process.started" in worker.text)
    http.port = int(stack.environ["SUBKEEPER_HEALTH__PORT"])
    wait_until(http.is_ready)
    match = {"path": "/v1/customers", "method": "POST", "user_id": "bob"}
    stack.control.fault("status", match=match, status=402, times=1, sticky=False)
    stack.publish(profile("ada"), profile("bob"))
    stack.await_completed("ada", "bob")
    subscribe(stack, str(stack.customers("bob")[0]["id"]))  # by somebody else, to be adopted
    live(stack, "ada")
    look(stack, "ada")
    for kind in ("checkout.session.completed", "checkout.session.expired"):
        session = canaries.of("checkout.session", id="cs_1", customer=stack.customers("ada")[0]["id"], metadata={})
        deliver(stack, json.dumps(event(kind, session)).encode())
    go_wrong(stack, worker, canaries)
    wait_until(lambda: at_rest(stack), 30, "all is processed")
    assert {row["source"] for row in stack.rows("SELECT source FROM processed_stripe_events")} == {"webhook", "poll"}
    assert canaries.planted >= SURELY
    assert len(canaries.planted) > 500

    files = {path.name: path.read_bytes() for path in stack.nsqd.directory.rglob("*") if path.is_file()}
    kept = {name: content for name, content in files.items() if not name.startswith(stack.topic + ":")}
    assert any(b"customer.subscription" in content for content in kept.values()), "nsqd kept events on its disk"
    stack.nsqd.publish(stack.events_topic, json.dumps(canaries.of("customer", id="cus_forged")).encode())
    wait_until(lambda: "envelope_forged" in worker.text, what="a forgery is set aside")
    places: dict[str, str | bytes] = {
        **kept,
        **answers(launcher, stack),
        **{path: http.get(path)[1] for path in ("/metrics", "/readyz", "/healthz")},
        "dump": dump(stack),
        "log": worker.text,
    }
    assert {place: words for place, content in places.items() if (words := found(content))} == {}
    assert "stripe_call.failed" in worker.text
    assert found(json.dumps(canaries.of("customer"))), "they would be found"

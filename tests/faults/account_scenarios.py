"""What users and admins ask for by the API while the web process dies: what is arranged, asked, and to come of it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sandbox.ports import free_port
from tests.faults.launcher import Launched
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token

ADMIN = new_token(bytes)
ENVIRON = {
    "SUBKEEPER_PLANS__PENDING__ADMIN_ONLY": "true",
    "SUBKEEPER_PLANS__PRO__UNIT_AMOUNT": "900",
    "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest,
    "SUBKEEPER_STRIPE__REQUEST_TIMEOUT": "2",
}


class Asked(NamedTuple):
    """A request, under a key of its caller's, and the status that it ends in."""

    method: str
    path: str | Callable[[Stack], str]
    body: Mapping[str, object] | None
    status: int


CHANGE = Asked(
    "PATCH",
    "/subscriptions/user-0",
    {"stripe_source": "pm_card_visa", "email": "user-0@new.example", "plan": "pro", "canceling": True},
    200,
)
DECLINED = Asked("PATCH", "/subscriptions/user-0", {"stripe_source": "pm_card_chargeDeclined"}, 402)
DETAILS = Asked(
    "PATCH",
    "/billing/customers/user-0",
    {"name": "Zoe", "address": {"city": "Rome"}, "tax_ids": [{"type": "eu_vat", "value": "IT12345678901"}]},
    204,
)
REMOVAL = Asked("DELETE", "/subscriptions/user-0", None, 204)
DETACHMENT = Asked("DELETE", lambda stack: f"/billing/payment-methods/{_first_card(stack)}?user_id=user-0", None, 204)
CREATION = Asked("POST", "/subscriptions", {"user_id": "user-1", "plan": "pending"}, 201)


def arranged(stack: Stack) -> Mapping[str, str]:
    """A signup is done, and something else was asked for long ago."""
    stack.environ["SUBKEEPER_WEB__PORT"] = str(free_port())
    stack.publish(profile("user-0"))
    worker = stack.start_worker()
    stack.await_completed("user-0")
    worker.stop()
    stack.rows(
        "INSERT INTO account_changes (id, kind, user_id, caller, digest, state, steps, wanted, ended_at) VALUES"
        " (gen_random_uuid(), 'update', 'user-0', 'admin', '', 'applied', '{email}', '{}', now() - interval '31 days')"
    )
    return {"user-0": "completed"}


def arranged_with_a_tax_id(stack: Stack) -> Mapping[str, str]:
    expected = arranged(stack)
    path = f"/v1/customers/{stack.customers('user-0')[0]['id']}/tax_ids"
    stack.call_stripe("POST", path, type="eu_vat", value="DE123456789")
    return expected


def key_lost(stack: Stack) -> Mapping[str, str]:
    """Somebody asked for another email, and nobody can open it."""
    expected = arranged(stack)
    stack.rows(
        "INSERT INTO account_changes (id, kind, user_id, caller, digest, steps, wanted, sealed_email) VALUES"
        " (gen_random_uuid(), 'update', 'user-0', 'admin', '', '{email}', '{}', decode('010000000000', 'hex'))"
    )
    return expected


def is_failed(stack: Stack) -> bool:
    """And its email erased."""
    told = "SELECT 1 FROM account_changes WHERE result -> 'error' ->> 'code' = 'key_lost' AND state = 'failed'"
    return len(stack.rows(told)) == 1 and not stack.rows("SELECT 1 FROM account_changes WHERE sealed_email IS NOT NULL")


def failing(*paths: str) -> Callable[[Stack], Mapping[str, str]]:
    """Stripe does what it is asked, and says for a while that it is away."""

    def arrange(stack: Stack) -> Mapping[str, str]:
        expected = arranged(stack)
        for path in paths:
            match = {"path": path, "method": "POST"}
            stack.control.fault("status", match=match, status=503, times=1, when="after", sticky=False)
        return expected

    return arrange


def giving(stack: Stack, launched: Launched) -> None:
    """A project is given a role on the user's customer, again and again until the process has ended."""
    while launched.await_end(0) is None:
        status_of(stack, _role(stack))
        time.sleep(0.05)


def given_again(stack: Stack) -> Mapping[str, str]:
    wait_until(lambda: status_of(stack, _role(stack)) == 200, 20, "the role is given")
    assert stack.rows("SELECT owner_kind, owner_id, role FROM billing_owners") == [
        {"owner_kind": "project", "owner_id": "p", "role": "member"}
    ]
    return {}


def _role(stack: Stack) -> Asked:
    customer = stack.ledger("user-0")["stripe_customer_id"]
    return Asked("PUT", "/billing/owners", {"customer": customer, "project_id": "p", "role": "member"}, 200)


def asking(asked: Asked) -> Callable[[Stack, Launched], None]:
    """Somebody asks until the process takes it in, or has ended."""

    def ask(stack: Stack, launched: Launched) -> None:
        while launched.await_end(0) is None:
            if status_of(stack, asked) not in {None, 503}:
                return
            time.sleep(0.05)

    return ask


def asked_again(
    asked: Asked, check: Callable[[Stack], None], expected: Mapping[str, str] | None = None
) -> Callable[[Stack], Mapping[str, str]]:
    """Under the same key: whoever lost the answer gets it, and it was done once."""

    def ask(stack: Stack) -> Mapping[str, str]:
        wait_until(lambda: status_of(stack, asked) == asked.status, 20, f"{asked.method} is {asked.status}")
        assert len(stack.rows("SELECT 1 FROM account_changes WHERE idempotency_key IS NOT NULL")) == 1
        wait_until(lambda: not stack.rows("SELECT 1 FROM account_changes WHERE idempotency_key IS NULL"))
        assert not stack.rows("SELECT 1 FROM account_changes WHERE sealed_email IS NOT NULL")
        check(stack)
        return expected or {}

    return ask


def with_cards(stack: Stack) -> Mapping[str, str]:
    """Two, of which the first is the default."""
    expected, customer = arranged(stack), str(stack.customers("user-0")[0]["id"])
    path = "/v1/payment_methods/pm_card_visa/attach"
    first, second = (stack.call_stripe("POST", path, customer=customer)["id"] for _ in range(2))
    stack.call_stripe("POST", f"/v1/customers/{customer}", **{"invoice_settings[default_payment_method]": first})
    stack.rows(
        "INSERT INTO payment_methods (billing_customer_id, stripe_payment_method_id, priority)"
        " SELECT id, unnest(%s::text[]), generate_series(1, 2) FROM billing_customers",
        [first, second],
    )
    return expected


def with_a_card_that_is_gone(stack: Stack) -> Mapping[str, str]:
    """Of which nobody has told us."""
    expected = with_cards(stack)
    stack.call_stripe("POST", f"/v1/payment_methods/{_first_card(stack)}/detach")
    return expected


def is_taken_away(stack: Stack) -> None:
    """And the other one is there, in its place."""
    customer = stack.customers("user-0")[0]["id"]
    (left,) = stack.call_stripe("GET", f"/v1/customers/{customer}/payment_methods")["data"]
    rows = stack.rows(
        "SELECT stripe_payment_method_id AS id, priority FROM payment_methods ORDER BY payment_methods.id"
    )
    assert [(each["id"] == left["id"], each["priority"]) for each in rows] == [(False, None), (True, 1)]
    assert _row(stack)["customer_default_payment_method"] is None


def _first_card(stack: Stack) -> str:
    (card,) = stack.rows(
        "SELECT stripe_payment_method_id AS id FROM payment_methods ORDER BY payment_methods.id LIMIT 1"
    )
    return str(card["id"])


def is_changed(stack: Stack) -> None:
    """Once at Stripe, and our row says so."""
    customer = stack.customers("user-0")[0]["id"]
    found = stack.call_stripe("GET", f"/v1/customers/{customer}")
    (card,) = stack.call_stripe("GET", f"/v1/customers/{customer}/payment_methods")["data"]
    assert (found["email"], found["invoice_settings"]["default_payment_method"]) == ("user-0@new.example", card["id"])
    row = _row(stack)
    assert (row["plan"], row["canceling"]) == ("pro", True)
    told = [each["after"] for each in stack.rows("SELECT after FROM subscription_changes ORDER BY id")]
    assert [(each["payable"], each["plan"], each["canceling"]) for each in told] == [
        (False, "pending", False), (True, "pending", False), (True, "pro", False), (True, "pro", True),
    ]  # fmt: skip


def is_on_the_bills(stack: Stack) -> None:
    """Once, and nothing of before is."""
    path = f"/v1/customers/{stack.customers('user-0')[0]['id']}"
    found = stack.call_stripe("GET", path)
    assert (found["name"], found["address"]["city"]) == ("Zoe", "Rome")
    assert [each["value"] for each in stack.call_stripe("GET", f"{path}/tax_ids")["data"]] == ["IT12345678901"]


def is_refused(stack: Stack) -> None:
    assert _row(stack)["version"] == 1


def is_removed(stack: Stack) -> None:
    assert not stack.rows("SELECT 1 FROM billing_subscriptions UNION ALL SELECT 1 FROM subscription_refreshes")
    (told,) = stack.rows("SELECT version FROM subscription_changes WHERE after IS NULL")
    (tombstone,) = stack.rows("SELECT version FROM subscription_tombstones")
    assert told == tombstone


def is_created(_stack: Stack) -> None:
    """The tally counts the user's customer and subscription."""


def _row(stack: Stack) -> dict[str, Any]:
    return stack.subscription_row(stack.ledger("user-0")["stripe_subscription_id"])


def status_of(stack: Stack, asked: Asked) -> int | None:
    """None: there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.environ["SUBKEEPER_WEB__PORT"]), timeout=15)
    headers = {"Authorization": f"Bearer {ADMIN.token}", "Idempotency-Key": "k", "Content-Type": "application/json"}
    path = asked.path if isinstance(asked.path, str) else asked.path(stack)
    try:
        connection.request(asked.method, path, json.dumps(asked.body) if asked.body else None, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()

"""Changes of subscriptions over HTTP: a row first, then Stripe, and our row as Stripe answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from tests.integration.provisioning.conftest import closing, new_stack, quick_probes, stack
from tests.integration.web.callers import Reply, ask
from tests.support.jwts import AUDIENCE, ISSUER, SECRET, claims, signed
from tests.support.stack import Stack, Worker, profile
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token
from worker.runtime.web import Web

__all__ = ["closing", "new_stack", "quick_probes", "stack"]

ADMIN = new_token()
PLANS = {
    "SUBKEEPER_PLANS__PENDING__ADMIN_ONLY": "true",
    "SUBKEEPER_PLANS__PRO__UNIT_AMOUNT": "900",
    "SUBKEEPER_PLANS__GOLD__UNIT_AMOUNT": "1900",
}
CALLERS = {
    "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest,
    "SUBKEEPER_API__JWT_SECRET": SECRET,
    "SUBKEEPER_API__JWT_ISSUER": ISSUER,
    "SUBKEEPER_API__JWT_AUDIENCE": AUDIENCE,
}


def token_of(user_id: str, scope: str | None = None) -> str:
    return signed(claims(user_id, scope), SECRET, "HS256", None)


@dataclass
class Accounts:
    """A deployment, its web process, and the users who have signed up."""

    stack: Stack
    worker: Worker

    @property
    def web_port(self) -> int:
        return cast("Web", self.worker.process.fronts[0]).http.port

    def change(self, user_id: str, body: object, token: str | None = None, **headers: str) -> Reply:
        return ask(self, f"/subscriptions/{user_id}", token or token_of(user_id), "PATCH", body, **headers)

    def delete(self, user_id: str, token: str = ADMIN.token, **headers: str) -> Reply:
        return ask(self, f"/subscriptions/{user_id}", token, "DELETE", **headers)

    def create(self, body: object, token: str = ADMIN.token, **headers: str) -> Reply:
        return ask(self, "/subscriptions", token, "POST", body, **headers)

    def read(self, user_id: str) -> Reply:
        return ask(self, f"/subscriptions/{user_id}", ADMIN.token)

    def at_stripe(self, user_id: str) -> dict[str, Any]:
        return self.stack.call_stripe("GET", f"/v1/subscriptions/{self.id_of(user_id)}")

    def customer(self, user_id: str) -> dict[str, Any]:
        return self.stack.call_stripe("GET", f"/v1/customers/{self.stack.ledger(user_id)['stripe_customer_id']}")

    def id_of(self, user_id: str) -> str:
        return str(self.stack.ledger(user_id)["stripe_subscription_id"])

    def rows(self) -> list[dict[str, Any]]:
        return self.stack.rows("SELECT * FROM account_changes ORDER BY seq")


def signed_up(stack: Stack, *users: str) -> None:
    worker = stack.start_worker()
    stack.publish(*[profile(user) for user in users])
    stack.await_completed(*users)
    worker.stop()


@pytest.fixture
def plans(stack: Stack) -> Stack:
    stack.environ |= {**PLANS, **CALLERS}
    stack.setup()
    return stack


NewAccounts = Callable[..., Accounts]


@pytest.fixture
def accounts(plans: Stack, quick_probes: None) -> Accounts:
    signed_up(plans, "ann")
    worker = plans.start_worker("web")
    wait_until(worker.is_ready)
    return Accounts(plans, worker)


def test_a_plan_that_is_chosen_on_trial_keeps_the_trial(accounts: Accounts) -> None:
    before = accounts.at_stripe("ann")
    reply = accounts.change("ann", {"plan": "pro"})
    assert (reply.status, reply.body["plan"], reply.body["status"]) == (200, "pro", "trialing")
    after = accounts.at_stripe("ann")
    assert after["items"]["data"][0]["price"]["lookup_key"] == "pro"
    assert after["trial_end"] == before["trial_end"]
    read = accounts.read("ann")
    assert (read.body, read.headers["ETag"]) == (reply.body, reply.headers["ETag"])
    assert not accounts.stack.rows("SELECT 1 FROM subscription_refreshes")

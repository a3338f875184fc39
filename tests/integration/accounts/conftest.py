"""A deployment whose web process changes subscriptions, and users who have signed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

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
DEPLOYMENT = {
    "SUBKEEPER_PLANS__PENDING__ADMIN_ONLY": "true",
    "SUBKEEPER_PLANS__FREE__UNIT_AMOUNT": "0",
    "SUBKEEPER_PLANS__PRO__UNIT_AMOUNT": "900",
    "SUBKEEPER_PLANS__GOLD__UNIT_AMOUNT": "1900",
    "SUBKEEPER_API__ADMIN_TOKENS": ADMIN.digest,
    "SUBKEEPER_API__JWT_SECRET": SECRET,
    "SUBKEEPER_API__JWT_ISSUER": ISSUER,
    "SUBKEEPER_API__JWT_AUDIENCE": AUDIENCE,
    "SUBKEEPER_API__PRORATION_BEHAVIOR": "always_invoice",
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

    def at_stripe_do(self, user_id: str, **form: str) -> dict[str, Any]:
        """What somebody else does with the subscription, of which nobody tells us."""
        return self.stack.call_stripe("POST", f"/v1/subscriptions/{self.id_of(user_id)}", **form)

    def customer(self, user_id: str) -> dict[str, Any]:
        return self.stack.call_stripe("GET", f"/v1/customers/{self.stack.ledger(user_id)['stripe_customer_id']}")

    def id_of(self, user_id: str) -> str:
        return str(self.stack.ledger(user_id)["stripe_subscription_id"])

    def rows(self) -> list[dict[str, Any]]:
        return self.stack.rows("SELECT * FROM account_changes ORDER BY seq")

    def asked(self, user_id: str) -> list[dict[str, Any]]:
        """The parameters of what was asked of Stripe for the subscription, in order."""
        return [each["params"] for each in self.stack.requests("POST", f"/v1/subscriptions/{self.id_of(user_id)}")]


def signed_up(stack: Stack, *users: str) -> None:
    worker = stack.start_worker()
    stack.publish(*[profile(user) for user in users])
    stack.await_completed(*users)
    worker.stop()


@pytest.fixture
def deployment(stack: Stack, quick_probes: None) -> Stack:
    """Set up with several plans, and with callers; ann has signed up."""
    stack.environ |= DEPLOYMENT
    stack.setup()
    signed_up(stack, "ann")
    return stack


class NewAccounts(Protocol):
    def __call__(self, **environ: str) -> Accounts: ...


@pytest.fixture
def new_accounts(deployment: Stack) -> NewAccounts:
    def start(**environ: str) -> Accounts:
        worker = deployment.start_worker("web", **environ)
        wait_until(worker.is_ready)
        return Accounts(deployment, worker)

    return start


@pytest.fixture
def accounts(new_accounts: NewAccounts) -> Accounts:
    return new_accounts()

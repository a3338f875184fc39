"""A deployment whose web process changes subscriptions, and users who have signed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import pytest

from tests.integration.provisioning.conftest import NewStack, closing, new_stack, quick_probes
from tests.integration.web.callers import Reply, ask
from tests.support.jwts import AUDIENCE, ISSUER, SECRET, claims, signed
from tests.support.stack import Stack, Worker
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token
from worker.domain.provisioning import user_digest
from worker.runtime.web import Web

__all__ = ["closing", "new_stack", "quick_probes"]

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
    "SUBKEEPER_API__RETURN_ORIGINS": "https://app.example.com",
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

    def post(self, path: str, body: object, token: str | None = ADMIN.token, **headers: str) -> Reply:
        return ask(self, path, token, "POST", body, **headers)

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
    """What provisioning leaves of them, at Stripe and here, in less time than a worker starts in."""
    for user in users:
        whose = {"metadata[subkeeper]": user_digest("subkeeper", user), "metadata[user_id]": user}
        customer = stack.call_stripe("POST", "/v1/customers", email=f"{user}@example.org", **whose)["id"]
        form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "31", **whose}
        made = stack.call_stripe("POST", "/v1/subscriptions", **form)
        item = made["items"]["data"][0]
        stack.rows(
            """
            WITH customer AS (
                INSERT INTO billing_customers (user_id, stripe_customer_id) VALUES (%s, %s) RETURNING id, user_id
            ), ledger AS (
                INSERT INTO provisionings
                    (user_id, state, plan, trial_end, lane, stripe_customer_id, stripe_subscription_id, completed_at)
                VALUES (%s, 'completed', 'pending', to_timestamp(%s), 0, %s, %s, now())
            )
            INSERT INTO billing_subscriptions
                (billing_customer_id, stripe_subscription_id, plan, stripe_subscription_status, canceling, trial_start,
                 trial_end, period_start, period_end, seen_from, seen_to, stripe_created)
            SELECT id, %s, 'pending', 'trialing', false, to_timestamp(%s), to_timestamp(%s), to_timestamp(%s),
                to_timestamp(%s), now(), now(), to_timestamp(%s)
            FROM customer
            """,
            user, customer, user, made["trial_end"], customer, made["id"], made["id"], made["trial_start"],
            made["trial_end"], item["current_period_start"], item["current_period_end"], made["created"],
        )  # fmt: skip


@pytest.fixture
def deployment(new_stack: NewStack, quick_probes: None) -> Stack:
    """Set up with several plans, and with callers; ann has signed up."""
    stack = new_stack(**cast("dict[str, Any]", DEPLOYMENT))
    stack.prepare()
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

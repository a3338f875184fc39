"""The calls in docs/api.md, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stripe import StripeClient

from tests.integration.accounts.conftest import DEPLOYMENT, Accounts, signed_up, token_of
from tests.integration.provisioning.conftest import closing, new_stack, stack
from tests.integration.web.callers import ask, subscribe
from tests.support.stack import Stack, StripeAccount
from tests.support.waiting import wait_until
from worker.accounts.tokens import new_token

__all__ = ["closing", "new_stack", "stack"]

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLE = re.compile(r"^```console\n\$ (.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def as_said(said: Any, found: Any) -> bool:
    """Whether an answer is the one in the page, where … stands for more."""
    if isinstance(said, dict):
        named = {name: value for name, value in said.items() if name != "…"}
        whole = len(named) < len(said) or found.keys() == said.keys()
        return whole and all(as_said(value, found[name]) for name, value in named.items())
    if isinstance(said, list):
        return len(said) == len(found) and all(map(as_said, said, found))
    return bool(said in ("…", found))


def at_stripe(stripe: StripeAccount) -> dict[str, str]:
    """What the page tells of one customer, by the page's names of it: Stripe chooses ids itself."""
    client = StripeClient(stripe.secret_key, base_addresses={"api": stripe.url})
    address: Any = {"line1": "12 St James's Square", "postal_code": "SW1Y 4JH", "city": "London", "country": "GB"}
    customer = client.v1.customers.create({"name": "Ada Lovelace", "address": address})
    client.v1.customers.tax_ids.create(customer.id, {"type": "eu_vat", "value": "DE123456789"})
    ids = {"cus_1SxY": customer.id}
    cards = {"pm_1SxA": ("4242424242424242", 8, 2031), "pm_1SxB": ("5555555555554444", 1, 2030)}
    for named, (number, month, year) in cards.items():
        card: Any = {"number": number, "exp_month": month, "exp_year": year}
        made = client.v1.payment_methods.create({"type": "card", "card": card})
        ids[named] = client.v1.payment_methods.attach(made.id, {"customer": customer.id}).id
    return ids


def change_at_stripe(stack: Stack) -> None:
    """From here on the subscription is one that Stripe has, and whoever is created is settled."""
    stack.rows("TRUNCATE billing_customers, provisionings CASCADE")
    signed_up(stack, "u-123")
    stack.start_worker()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_every_call_of_the_page_is_answered_as_it_says(stack: Stack) -> None:
    admin = new_token()
    stack.environ |= {**DEPLOYMENT, "SUBKEEPER_API__ADMIN_TOKENS": admin.digest}
    stack.setup()
    api = Accounts(stack, stack.start_worker("web"))
    wait_until(api.worker.is_ready)
    begun, ends = datetime(2026, 11, 20, 21, 39, tzinfo=UTC), datetime(2026, 12, 21, 21, 39, tzinfo=UTC)
    times: dict[str, Any] = {"trial_start": begun, "trial_end": ends, "period_start": begun, "period_end": ends}
    subscribe(stack.database_url, "u-123", stripe_subscription_id="sub_1SxY", version=1, **times)
    ours = at_stripe(stack.stripe)
    stack.rows(
        "UPDATE billing_customers SET stripe_customer_id = %s, default_payment_method = %s WHERE user_id = 'u-123'",
        ours["cus_1SxY"],
        ours["pm_1SxA"],
    )
    subscribe(stack.database_url, "u-7", "past_due", "pro")
    environ = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "API": f"http://127.0.0.1:{api.web_port}",
        "TOKEN": token_of("u-123"),
        "ADMIN_TOKEN": admin.token,
        "CURSOR": ask(api, "/subscriptions?limit=1", admin.token).body["next_cursor"],
    }
    page = PAGE.read_text()
    for named, found in ours.items():
        page = page.replace(named, found)
    examples = EXAMPLE.findall(page)
    assert len(examples) == 29
    for command, said in examples:
        if '-X PATCH "$API/subscriptions' in command and not stack.customers("u-123"):
            change_at_stripe(stack)
        changes = [each for each in api.rows() if each["kind"] == "update"]
        if changes and "CHANGE" not in environ:
            environ["CHANGE"] = f"/account-changes/{changes[0]['id']}"
        if pages := stack.rows("SELECT id FROM checkouts ORDER BY seq"):
            environ["CHECKOUT"] = str(pages[-1]["id"])
        done = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True, check=True)
        assert as_said(json.loads(said), json.loads(done.stdout)), (command, done.stdout)

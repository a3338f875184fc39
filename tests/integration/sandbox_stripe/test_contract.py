"""`make contract`, with a sandbox's Stripe in the place of the real one: keys, the table, cleaning up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.stripe import ledger
from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.contract.__main__ import NO_KEY, main
from tests.integration.sandbox_stripe.raw import Raw

ROOT = Path(__file__).parents[3]
README = ("customer_write", "subscription_write", "product_write", "plan_write", "event_read")
"""What the README grants a restricted key."""


def _contract(server: StripeServer, key: str, which: str) -> tuple[int, str]:
    """The exit code, and what was printed from the table on."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.contract", "-k", which],
        env={**os.environ, "STRIPE_TEST_SECRET_KEY": key, "STRIPE_TEST_API_BASE": server.url},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert key not in ran.stdout + ran.stderr
    return ran.returncode, ran.stdout.partition("what we believe of Stripe")[2]


@pytest.mark.parametrize("key", ["sk_live_4eC39HqLyjWDarjtT1zdp7dc", "rk_live_4eC39HqLyjWDarjtT1", "pk_test_1", ""])
def test_a_key_that_is_none_of_test_mode_is_refused_before_anything_is_sent(
    key: str, server: StripeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRIPE_TEST_SECRET_KEY", key)
    monkeypatch.setenv("STRIPE_TEST_API_BASE", server.url)
    assert main([]) == NO_KEY
    said = capsys.readouterr().err
    assert "must begin with sk_test_" in said
    assert not key or key not in said
    assert Control(server.url).requests() == []


def test_what_a_restricted_key_may_not_ask_is_not_allowed_and_the_rest_is_asked(
    server: StripeServer, control: Control
) -> None:
    control.put_key("rk_test_readme", README)
    code, table = _contract(server, "rk_test_readme", "email or announced_at_once or endpoint")
    assert code == 0, table
    rows = [line.split() for line in table.splitlines()]
    assert {row[0] for row in rows if row and row[0] in ("agreed", "differed", "not", "unclear")} == {"agreed", "not"}
    assert "POST /v1/test_helpers/test_clocks" in table
    assert "POST /v1/webhook_endpoints" in table


def test_what_differs_fails_and_says_how_and_nothing_is_left_behind_by_whatever_test(
    server: StripeServer, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Stripe whose events carry their test clock's time."""
    monkeypatch.setattr(ledger, "event_created", lambda tx: tx.now)
    code, table = _contract(server, server.secret_key, "real_time or lookup_key or announced_at_once or not_taken")
    assert code == 1
    assert "differed     an event carries the real time" in table
    assert "3 agreed, 1 differed, 0 not allowed, 0 unclear" in table
    for kind in ("customers", "subscriptions", "test_helpers/test_clocks", "webhook_endpoints"):
        assert raw.get(f"/v1/{kind}").body["data"] == [], kind
    for kind in ("products", "prices"):
        assert {each["active"] for each in raw.get(f"/v1/{kind}").body["data"]} == {False}, kind

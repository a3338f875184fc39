"""Who may ask, in which version, and how often."""

from __future__ import annotations

import base64
import time
from email.utils import parsedate_to_datetime

import pytest

from sandbox.stripe.control import Control
from sandbox.stripe.server import StripeServer
from tests.integration.sandbox_stripe.raw import Raw


@pytest.mark.parametrize("header", ["", "Bearer sk_test_unknown", "Basic !!!", "Digest x"])
def test_without_a_known_key_there_is_no_access(raw: Raw, header: str) -> None:
    refused = raw("GET", "/v1/account", Authorization=header)
    assert (refused.status, refused.body["error"]["type"]) == (401, "invalid_request_error")


def test_a_key_may_come_by_basic_authentication(raw: Raw, server: StripeServer) -> None:
    basic = base64.b64encode(f"{server.secret_key}:".encode()).decode()
    assert raw("GET", "/v1/account", Authorization=f"Basic {basic}").body["id"] == server.account


def test_a_revoked_key_is_expired(raw: Raw, control: Control) -> None:
    control.put_key("sk_test_second")
    assert raw("GET", "/v1/account", Authorization="Bearer sk_test_second").status == 200
    control.put_key("sk_test_second", revoked=True)
    expired = raw("GET", "/v1/account", Authorization="Bearer sk_test_second")
    assert (expired.status, expired.body["error"]["code"]) == (401, "api_key_expired")


def test_a_restricted_key_may_do_what_it_is_for(raw: Raw, control: Control) -> None:
    control.put_key("rk_test_reader", ["customer_read", "subscription_write"])
    bearer = "Bearer rk_test_reader"
    assert raw("GET", "/v1/customers", Authorization=bearer).status == 200
    assert raw("GET", "/v1/subscriptions", Authorization=bearer).status == 200
    forbidden = raw("POST", "/v1/customers", Authorization=bearer)
    assert forbidden.status == 403
    assert "rak_customer_write" in forbidden.body["error"]["message"]


@pytest.mark.parametrize("version", ["2026-10-28.spring", "tomorrow", "2027-01-01.endive"])
def test_an_unknown_version_is_refused(raw: Raw, version: str) -> None:
    assert raw("GET", "/v1/account", Stripe_Version=version).status == 400


def test_every_answer_carries_its_identity_and_its_clocks_date(raw: Raw, control: Control) -> None:
    control.jump(10 * 86_400)
    answer = raw("GET", "/v1/customers/cus_none", Stripe_Version="2026-10-28.endive")
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"] == "2026-10-28.endive"
    assert answer.headers["Request-Id"] in answer.body["error"]["request_log_url"]
    date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    assert abs(date - time.time() - 10 * 86_400) < 60


def test_the_accounts_rate_is_limited_when_asked(raw: Raw, control: Control) -> None:
    control.limits(account_rate=2)
    statuses = [raw.get("/v1/account") for _ in range(6)]
    limited = [answer for answer in statuses if answer.status == 429]
    assert limited
    assert limited[0].headers["Stripe-Rate-Limited-Reason"] == "global-rate"


def test_an_endpoints_rate_leaves_the_others_alone(raw: Raw, control: Control) -> None:
    control.limits(endpoint_rate=1)
    assert raw.get("/v1/customers").status == 200
    limited = raw.get("/v1/customers")
    assert (limited.status, limited.headers["Stripe-Rate-Limited-Reason"]) == (429, "endpoint-rate")
    assert raw.get("/v1/prices").status == 200


def test_an_unknown_url_is_a_404(raw: Raw) -> None:
    assert "Unrecognized request URL" in raw.get("/v1/charges").body["error"]["message"]

"""Each refusal of Stripe's has one meaning here, and carries none of Stripe's words."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

import pytest
import stripe

from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater
from worker.stripe_api.errors import (
    CustomerGone,
    FieldRefused,
    KeyBurnt,
    KeyInUse,
    Refused,
    SharedRefusal,
    StripeFailure,
    Throttled,
    TrialPassed,
    Unauthorized,
    Unclear,
)
from worker.stripe_api.http_client import NoAnswer
from worker.stripe_api.translate import translate

SECRET = "ada@example.org is no valid email"
KINDS: dict[int, type[stripe.StripeError]] = {401: stripe.AuthenticationError, 429: stripe.RateLimitError}


def refusal(
    status: int | None, said: Mapping[str, object] | None = None, headers: dict[str, str] | None = None
) -> stripe.StripeError:
    kind = KINDS.get(status or 0, stripe.APIError)
    body = {"error": {"message": SECRET, **said}} if said is not None else None
    return kind(SECRET, SECRET, status, body, {"request-id": "req_1", **(headers or {})})


def translated(
    status: int | None,
    said: Mapping[str, object] | None = None,
    headers: dict[str, str] | None = None,
    operation: str = "customers.create",
) -> StripeFailure:
    return translate(refusal(status, said, headers), operation)


INVALID = {"type": "invalid_request_error"}
REPLAYED = {"idempotent-replayed": "true"}


@pytest.mark.parametrize(
    ("status", "said", "headers", "expected"),
    [
        (400, {"type": "idempotency_error"}, {}, KeyBurnt),
        (400, {**INVALID, "param": "email"}, REPLAYED, KeyBurnt),
        (402, {"type": "card_error"}, REPLAYED, KeyBurnt),
        (500, {"type": "api_error"}, REPLAYED, KeyBurnt),
        (409, {"type": "idempotency_error", "code": "idempotency_key_in_use"}, {}, KeyInUse),
        (409, {"type": "idempotency_error"}, {}, KeyBurnt),
        (409, INVALID, {}, KeyInUse),
        (429, {"type": "invalid_request_error", "code": "rate_limit"}, {}, Throttled),
        (429, None, {}, Throttled),
        (429, {**INVALID, "code": "lock_timeout"}, {}, Throttled),
        (400, {**INVALID, "code": "lock_timeout"}, {}, Throttled),
        (401, INVALID, {}, Unauthorized),
        (403, INVALID, {}, Unauthorized),
        (403, None, {}, Unauthorized),
        (500, {"type": "api_error"}, {}, Unclear),
        (503, None, {}, Unclear),
        (302, None, {}, Unclear),
        (200, None, {}, Unclear),
        (408, None, {}, Unclear),
        (400, {**INVALID, "param": "email"}, {}, FieldRefused),
        (400, {**INVALID, "param": "name"}, {}, FieldRefused),
        (400, {**INVALID, "param": "trial_end"}, {}, TrialPassed),
        (400, {**INVALID, "param": "customer", "code": "resource_missing"}, {}, CustomerGone),
        (404, {**INVALID, "param": "id", "code": "resource_missing"}, {}, CustomerGone),
        (400, {**INVALID, "param": "items[0][price]", "code": "resource_missing"}, {}, SharedRefusal),
        (400, {**INVALID, "param": "currency"}, {}, SharedRefusal),
        (400, {**INVALID, "param": "trial_settings[end_behavior]"}, {}, SharedRefusal),
        (400, {**INVALID, "param": "billing_mode"}, {}, SharedRefusal),
        (400, {**INVALID, "param": "metadata[user_id]"}, {}, Refused),
        (400, {**INVALID, "param": "customer"}, {}, Refused),
        (400, INVALID, {}, Refused),
        (402, {"type": "card_error", "code": "card_declined"}, {}, Refused),
        (400, {**INVALID, "code": "testmode_charges_only"}, {}, SharedRefusal),
        (404, INVALID, {}, SharedRefusal),
        (404, {**INVALID, "code": "resource_missing", "param": "source"}, {}, Refused),
        (413, None, {}, Unclear),
    ],
)
def test_each_refusal_has_one_meaning(
    status: int, said: Mapping[str, object] | None, headers: dict[str, str], expected: type[SubkeeperError]
) -> None:
    assert type(translated(status, said, headers)) is expected


def test_the_refused_field_is_named() -> None:
    error = translated(400, {**INVALID, "param": "email"})
    assert isinstance(error, FieldRefused)
    assert error.field == "email"


def test_a_name_that_is_refused_in_the_catalogue_is_everybodys_matter() -> None:
    assert isinstance(translated(400, {**INVALID, "param": "name"}, operation="products.create"), SharedRefusal)


def test_what_is_refused_without_any_profile_in_it_is_everybodys_matter() -> None:
    assert isinstance(translated(400, INVALID, operation="account.retrieve"), SharedRefusal)


def test_a_broken_connection_is_unclear_and_says_how_it_broke() -> None:
    broken: stripe.StripeError = stripe.APIConnectionError(SECRET, code="stripe_timeout")  # type: ignore[no-untyped-call]  # stripe's
    error = translate(broken, "customers.create")
    assert isinstance(error, Unclear)
    assert error.reason == str(error) == "stripe_timeout"
    timed_out = translate(NoAnswer("stripe_timeout"), "customers.create", "https://api.stripe.com")
    assert str(timed_out) == "stripe_timeout: https://api.stripe.com did not answer in time"


def test_a_proxy_s_page_is_told_from_stripe_s_words() -> None:
    error = translate(stripe.APIError("<html>", http_status=502), "account.retrieve", "https://api.stripe.com")
    said = "stripe_status_502: https://api.stripe.com answered with status 502, and not as Stripe does"
    assert str(error) == said


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (translated(400, {"type": "idempotency_error"}), SubkeeperError),
        (translated(429), TryLater),
        (translated(409, INVALID), TryLater),
        (translated(500), TryLater),
        (translated(401), Misconfigured),
        (translated(400, {**INVALID, "param": "items"}), Misconfigured),
        (translated(400, {**INVALID, "param": "email"}), Rejected),
        (translated(402, INVALID), Rejected),
    ],
)
def test_each_says_who_must_act(error: SubkeeperError, base: type[SubkeeperError]) -> None:
    assert isinstance(error, base)


@pytest.mark.parametrize("said", [{**INVALID, "param": "email", "code": "email_invalid"}, {"type": "x" * 200}, None])
def test_a_logged_traceback_holds_none_of_stripes_words(said: Mapping[str, object] | None) -> None:
    original = refusal(400, said)
    try:
        raise translate(original, "customers.create") from original
    except SubkeeperError as error:
        told = "".join(traceback.format_exception(error)) + repr(error) + repr(original) + repr(original.args)
    assert "ada@" not in told
    assert "x" * 101 not in told
    assert "req_1" in told


@pytest.mark.parametrize(
    ("status", "said", "headers", "quick"),
    [
        (503, None, {}, True),
        (500, {"type": "api_error"}, {}, False),
        (500, {"type": "api_error"}, {"stripe-should-retry": "true"}, True),
        (503, None, {"stripe-should-retry": "false"}, False),
        (409, {"code": "idempotency_key_in_use"}, {}, True),
        (429, None, {}, False),
    ],
)
def test_what_may_be_repeated_at_once(
    status: int, said: Mapping[str, object] | None, headers: dict[str, str], quick: bool
) -> None:
    assert translated(status, said, headers).failure.quick is quick


@pytest.mark.parametrize(
    ("words", "account"),
    [
        (
            "The provided key 'rk_test_***' may not do this on account 'acct_1PJBLEBBLEfV'. Having …",
            "acct_1PJBLEBBLEfV",
        ),
        ("on account 'ada@example.org'", None),
        ("Invalid API Key provided: sk_test_***", None),
        (None, None),
    ],
)
def test_a_refusal_s_account_is_taken_from_its_words_and_nothing_else_is(
    words: str | None, account: str | None
) -> None:
    error = translated(403, {**INVALID, "message": words})
    assert error.failure.account == account
    assert "provided" not in str(error)

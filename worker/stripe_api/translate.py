"""From an error of the `stripe` package to one of ours, the most specific meaning first.

The order matters: a refusal that comes from memory (`Idempotent-Replayed`) says nothing about now, whatever it says.
The original is stripped of Stripe's words, so that a logged traceback leaks nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import stripe

from worker.stripe_api.errors import (
    CursorGone,
    CustomerGone,
    Failure,
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

_OF_THE_PROFILE = ("email", "name", "customer", "trial_end", "metadata")
"""The parameters that differ between profiles. A 400 about any other one would meet every profile alike."""

_OF_THE_ACCOUNT = {
    "account_invalid",
    "country_unsupported",
    "livemode_mismatch",
    "secret_key_required",
    "testmode_charges_only",
    "tls_version_unsupported",
}
"""Codes that come without a parameter and are about the account or the key (https://docs.stripe.com/error-codes)."""

_NAMED_ACCOUNT = re.compile(r"on account '(acct_\w{1,64})'", re.ASCII)


def translate(error: stripe.StripeError, operation: str, peer: str | None = None) -> StripeFailure:
    """Our error for Stripe's, to be raised `from` it. `operation` names the call (`"customers.create"`), `peer` is the
    URL of whom it was sent to."""
    failure = replace(_failure(error, operation), peer=peer, why=error.why if isinstance(error, NoAnswer) else None)
    _strip(error)
    if isinstance(error, stripe.APIConnectionError):
        return Unclear(error.code or "stripe_connection", failure)
    return _while_it_lasts(failure) or _about_the_key(failure) or _about_the_request(failure)


def _while_it_lasts(failure: Failure) -> StripeFailure | None:
    """What time mends, as long as Stripe didn't say it from memory."""
    in_use = failure.code == "idempotency_key_in_use"
    if failure.replayed and not in_use:
        return None
    if failure.status == 429 or failure.code in {"lock_timeout", "rate_limit"}:
        return Throttled(failure)
    if in_use or (failure.status == 409 and failure.type != "idempotency_error"):
        return KeyInUse(failure)
    if failure.status in {401, 403}:
        return None
    if failure.type is None or failure.status is None or not 400 <= failure.status < 500 or failure.status == 424:
        return Unclear(f"stripe_status_{failure.status}", failure)  # without a type it isn't Stripe who speaks
    return None


def _about_the_key(failure: Failure) -> StripeFailure | None:
    if failure.replayed or failure.type == "idempotency_error":
        return KeyBurnt(failure)
    if failure.status in {401, 403}:
        return Unauthorized(failure)
    return None


def _about_the_request(failure: Failure) -> StripeFailure:
    field = (failure.param or "").split("[")[0]
    if failure.code == "resource_missing" and (
        field == "customer" or (field == "id" and failure.operation.startswith("customers."))
    ):
        return CustomerGone(failure)
    if failure.code == "resource_missing" and field == "starting_after":
        return CursorGone(failure)
    if failure.operation == "customers.create" and field in {"email", "name"}:
        return FieldRefused(field, failure)
    if field == "trial_end":
        return TrialPassed(failure)
    return SharedRefusal(failure) if _is_shared(failure, field) else Refused(failure)


def _is_shared(failure: Failure, field: str) -> bool:
    """Whether any profile's request would be refused: by what it holds, by who sends it, or by where it goes."""
    if (
        not failure.operation.startswith(("customers.", "subscriptions.", "events.retrieve"))
        or failure.code in _OF_THE_ACCOUNT
    ):
        return True
    if failure.status == 404:
        return failure.code != "resource_missing"
    return failure.status == 400 and field != "" and field not in _OF_THE_PROFILE


def _failure(error: stripe.StripeError, operation: str) -> Failure:
    headers: Mapping[str, str] = error.headers or {}
    body = error.json_body.get("error") if isinstance(error.json_body, dict) else None
    said = body if isinstance(body, dict) else {}
    return Failure(
        operation=operation,
        status=error.http_status,
        type=_constant(said.get("type")),
        code=_constant(said.get("code")),
        param=_constant(said.get("param")),
        request_id=headers.get("request-id"),
        replayed=headers.get("idempotent-replayed") == "true",
        reason=headers.get("stripe-rate-limited-reason"),
        quick=_is_quick(error, said, headers),
        account=_account_in(said),
    )


def _account_in(said: Mapping[str, object]) -> str | None:
    """The account that Stripe's words name. It has no other place in the refusal of a restricted key."""
    found = _NAMED_ACCOUNT.search(str(said.get("message")))
    return found[1] if found else None


def _is_quick(error: stripe.StripeError, said: Mapping[str, object], headers: Mapping[str, str]) -> bool:
    """A connection that broke before an answer, a key in use, or a 5xx that isn't Stripe's own word.

    A 500 of Stripe's own is saved under the key: repeating it at once brings it back
    (https://docs.stripe.com/api/idempotent_requests). `Stripe-Should-Retry` decides where it is given.
    """
    if isinstance(error, stripe.APIConnectionError):
        return error.should_retry
    advice = headers.get("stripe-should-retry")
    if error.http_status == 429 or advice == "false":
        return False
    return advice == "true" or error.http_status == 409 or ((error.http_status or 0) >= 500 and not said)


def _constant(value: object) -> str | None:
    """Stripe's constants are short; anything else in their place isn't for our logs."""
    return value if isinstance(value, str) and len(value) <= 100 else None


def _strip(error: stripe.StripeError) -> None:
    """Take Stripe's words out of the original: they may quote what the user typed."""
    error._message = f"HTTP {error.http_status}"  # noqa: SLF001  # StripeError prints this, and has no setter for it
    error.http_body = error.json_body = error.error = None
    error.args = (error._message,)  # noqa: SLF001  # as above

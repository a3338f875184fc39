"""What Stripe's refusals mean to Subkeeper. Every error of the `stripe` package is translated here, once.

    SubkeeperError
    ├── KeyBurnt             Stripe answered from memory, or the key carried other parameters: look, next generation
    ├── TrialPassed          a 400 about `trial_end`: it is no longer in the future
    ├── Rejected             "stripe_refused": what is left
    │   ├── FieldRefused     a 400 about this profile's `email` or `name`: go on without it
    │   └── CustomerGone     the customer doesn't exist (any more)
    ├── TryLater
    │   ├── Throttled        429 or a lock timeout; the limiter has been told
    │   ├── KeyInUse         409: a request with this key is under way
    │   └── Unclear          no answer, or a 5xx: it may have happened. The same key again
    └── Misconfigured
        ├── Unauthorized     401, 403
        └── SharedRefusal    a 400 about what all profiles share (price, currency, settings)

A `Failure` says what Stripe said, without its message: that can quote an email address. The chained original is
stripped of it too, so that a logged traceback leaks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import stripe

from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater

KEY_IN_USE_PAUSE = 1.0
"""Seconds before a key that is in use is tried again: Stripe answers most requests within one."""

_OF_THE_PROFILE = ("email", "name", "customer", "trial_end", "metadata")
"""The parameters that differ between profiles. A 400 about any other one would meet every profile alike."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, in Stripe's constants. `quick`: it failed at once and may be repeated at once with its key."""

    operation: str
    status: int | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    request_id: str | None = None
    replayed: bool = False
    reason: str | None = None
    quick: bool = False

    def __str__(self) -> str:
        said = {"status": self.status, "type": self.type, "code": self.code, "param": self.param}
        said |= {"request": self.request_id, "reason": self.reason}
        words = " ".join(f"{name}={value}" for name, value in said.items() if value is not None)
        return f"{self.operation} {words or 'without an answer'}"


class KeyBurnt(SubkeeperError):
    """The idempotency key can only bring back an old refusal: look for the object, then use the next generation."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"idempotency key burnt: {failure}")
        self.failure = failure


class TrialPassed(SubkeeperError):
    """Stripe refused `trial_end`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"trial_end refused: {failure}")
        self.failure = failure


class FieldRefused(Rejected):
    """Stripe refused this profile's `field`: `"email"` or `"name"`."""

    def __init__(self, field: str, failure: Failure) -> None:
        super().__init__(f"stripe_refused_{field}", str(failure))
        self.field = field
        self.failure = failure


class CustomerGone(Rejected):
    """The customer that the request names doesn't exist, or was deleted."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("customer_gone", str(failure))
        self.failure = failure


class Refused(Rejected):
    """Stripe refused this request, and nothing above says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("stripe_refused", str(failure))
        self.failure = failure


class Throttled(TryLater):
    """Stripe's rate limit, or a lock on the object; the limiter has been told."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("stripe_throttled")
        self.failure = failure


class KeyInUse(TryLater):
    """Another request with this key is being executed right now."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("stripe_key_in_use", after=KEY_IN_USE_PAUSE)
        self.failure = failure


class Unclear(TryLater):
    """Nobody knows whether it happened; the same key again will tell."""

    def __init__(self, reason: str, failure: Failure) -> None:
        super().__init__(reason)
        self.failure = failure


class Unauthorized(Misconfigured):
    """Stripe doesn't accept the key, or the key may not do this."""

    def __init__(self, failure: Failure) -> None:
        fix = "Give a secret key, or a restricted key that may write customers, subscriptions, products and prices"
        super().__init__("STRIPE_SECRET_KEY", f"Stripe refuses it ({failure})", fix)
        self.failure = failure


class SharedRefusal(Misconfigured):
    """Stripe refuses what every profile's request holds: no profile is at fault."""

    def __init__(self, failure: Failure) -> None:
        fix = "Compare [plans] and [stripe] with the Stripe account; `subkeeper setup` creates what is missing"
        super().__init__("stripe", f"Stripe refuses what all requests share ({failure})", fix)
        self.failure = failure


StripeFailure = (
    KeyBurnt | TrialPassed | FieldRefused | CustomerGone | Refused
    | Throttled | KeyInUse | Unclear | Unauthorized | SharedRefusal
)  # fmt: skip
"""Whatever `translate` returns; each carries its `failure`."""


def translate(error: stripe.StripeError, operation: str) -> StripeFailure:
    """Our error for Stripe's, to be raised `from` it. `operation` names the call (`"customers.create"`)."""
    failure = _failure(error, operation)
    _strip(error)
    if isinstance(error, stripe.APIConnectionError):
        return Unclear(error.code or "stripe_connection", failure)
    return _while_it_lasts(failure) or _about_the_key(failure) or _about_the_request(failure)


def _while_it_lasts(failure: Failure) -> StripeFailure | None:
    """What time mends, as long as Stripe didn't say it from memory."""
    if failure.code == "idempotency_key_in_use":
        return KeyInUse(failure)
    if failure.replayed:
        return None
    if failure.status == 429 or failure.code in {"lock_timeout", "rate_limit"}:
        return Throttled(failure)
    if failure.status == 409 and failure.type != "idempotency_error":
        return KeyInUse(failure)
    if failure.status is None or failure.status >= 500 or failure.status < 400 or failure.status in {408, 424}:
        return Unclear(f"stripe_status_{failure.status}", failure)
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
    if failure.operation == "customers.create" and field in {"email", "name"}:
        return FieldRefused(field, failure)
    if field == "trial_end":
        return TrialPassed(failure)
    if failure.status == 400 and field and field not in _OF_THE_PROFILE:
        return SharedRefusal(failure)
    return Refused(failure)


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
    )


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

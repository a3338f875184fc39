"""Stripe's errors, in Stripe's shape: `{"error": {"type", "code", "param", "message", "doc_url", …}}`.

`saved` says whether the answer is kept under the request's idempotency key: yes once execution began (a missing
customer), no when the request never got that far (a bad parameter, 401, 403, 409, 429).
Source: https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes, https://docs.stripe.com/api/idempotent_requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INVALID = "invalid_request_error"


class ApiError(Exception):
    """An error answer: HTTP `status`, and the fields of Stripe's error object; `details` are those that few have.

    `keeps`: what the request did until then stays done (a declined payment was attempted).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = INVALID,
        saved: bool = False,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
        keeps: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.saved = saved
        self.headers = dict(headers or {})
        self.details = dict(details or {})
        self.keeps = keeps

    def body(self, request_id: str, account: str) -> dict[str, Any]:
        """The JSON body, with the links Stripe adds."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message, **self.details}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/{account}/test/workbench/logs?object={request_id}"
        return {"error": error}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A parameter that fails validation: 400, not saved."""
    return ApiError(400, message, code=code, param=param)


def refused(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A well-formed request that its execution refused: 400, saved."""
    return ApiError(400, message, code=code, param=param, saved=True)


def no_such(kind: str, identifier: str, param: str = "id") -> ApiError:
    """`resource_missing`: 404 for the object that the URL names, 400 for one that a parameter names."""
    status = 404 if param == "id" else 400
    return ApiError(status, f"No such {kind}: '{identifier}'", code="resource_missing", param=param, saved=True)


def underway(clock: str) -> ApiError:
    """429 for what would change an object whose test clock advances."""
    return ApiError(429, f"Test clock advancement underway - cannot perform modifications: {clock}")


def unsupported(what: str) -> ApiError:
    """Stripe would do it and this one doesn't: refused, so that nobody takes it for done."""
    return ApiError(400, f"The sandbox's Stripe does not model {what}.", saved=True)


def unauthorized(message: str, code: str | None = None) -> ApiError:
    return ApiError(401, message, code=code, headers={"WWW-Authenticate": 'Basic realm="Stripe"'})


def rate_limited(reason: str) -> ApiError:
    """429 by a limiter; `reason` as in `Stripe-Rate-Limited-Reason` (https://docs.stripe.com/rate-limits)."""
    message = "Request rate limit exceeded. Learn more about rate limits at https://docs.stripe.com/rate-limits."
    return ApiError(429, message, code="rate_limit", headers={"Stripe-Rate-Limited-Reason": reason})


def lock_timeout() -> ApiError:
    """429 of an object that another request holds; says nothing of the rate, hence no reason header."""
    message = (
        "This object cannot be accessed right now because another API request or Stripe process is currently"
        " accessing it. If you see this error intermittently, retry the request."
    )
    return ApiError(429, message, code="lock_timeout")


def server_error(status: int) -> ApiError:
    message = "An unknown error occurred" if status == 500 else "Stripe is temporarily unavailable"
    return ApiError(status, message, kind="api_error")

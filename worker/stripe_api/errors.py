"""What Stripe's refusals mean to Subkeeper. Every error of the `stripe` package becomes one of these.

    SubkeeperError
    ├── KeyBurnt             Stripe answered from memory, or the key carried other parameters: look, next generation
    ├── TrialPassed          a 400 about `trial_end`: it is no longer in the future
    ├── Rejected
    │   ├── FieldRefused     a 400 about this profile's `email` or `name`: go on without it
    │   ├── CustomerGone     the customer doesn't exist (any more)
    │   ├── Refused          what is left: whose fault it is, others' rows tell (`worker.domain.doubt`)
    │   ├── TrialRefused     one full trial after another
    │   └── AnswerIncomplete an answer without a field that we need: as `Refused`
    ├── TryLater
    │   ├── Throttled        429 or a lock timeout; the limiter has been told
    │   ├── KeyInUse         409: a request with this key is under way
    │   ├── CursorGone       the object after which a list was to go on has been deleted
    │   └── Unclear          no answer, or a 5xx: it may have happened. The same key again
    └── Misconfigured
        ├── Unauthorized     401, 403
        └── SharedRefusal    a 400 about what profiles share (price, currency, settings): with others' rows too

`worker.stripe_api.translate` chooses among them. A `Failure` says what Stripe said, without its message: that can quote
an email address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.errors import Misconfigured, Rejected, SubkeeperError, TryLater

KEY_IN_USE_PAUSE = 1.0
"""Seconds before a key that is in use is tried again: Stripe answers most requests within one."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, in Stripe's constants. `quick`: it failed at once and may be repeated at once with its key.

    `account`: the one that a refused key's refusal names. `peer`: whom it was sent to (a URL); `why`: what kept a
    connection from it, in the system's words.
    """

    operation: str
    status: int | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    request_id: str | None = None
    replayed: bool = False
    reason: str | None = None
    quick: bool = False
    account: str | None = None
    peer: str | None = None
    why: str | None = None

    @property
    def what(self) -> str:
        """What was refused: the same text whenever the same is, so that refusals can be compared."""
        return self._with({})

    def __str__(self) -> str:
        return self._with({"request": self.request_id, "reason": self.reason})

    def _with(self, more: Mapping[str, str | None]) -> str:
        said = {"status": self.status, "type": self.type, "code": self.code, "param": self.param, **more}
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


class TrialRefused(Rejected):
    """Stripe refused one full trial after another, so it isn't that it had passed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("trial_refused", str(failure))
        self.failure = failure


class AnswerIncomplete(Rejected):
    """Stripe's answer lacks a field that we need."""

    def __init__(self, detail: str) -> None:
        super().__init__("stripe_answer_incomplete", detail)


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


class CursorGone(TryLater):
    """The object after which the list was to go on has been deleted since: begin anew, or from its place in time."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("stripe_cursor_gone")
        self.failure = failure


class Unclear(TryLater):
    """Nobody knows whether it happened; the same key again will tell."""

    def __init__(self, reason: str, failure: Failure) -> None:
        super().__init__(reason)
        self.failure = failure

    def __str__(self) -> str:
        peer, why = self.failure.peer, self.failure.why
        said = {
            "stripe_connection": f"no connection to {peer} ({why})",
            "stripe_tls": f"no trusted connection to {peer} ({why})",
            "stripe_timeout": f"{peer} did not answer in time",
            "stripe_answer_size": f"{peer} answered with more than any answer of Stripe's holds",
        }.get(self.reason, f"{peer} answered with status {self.failure.status}, and not as Stripe does")
        return f"{self.reason}: {said}" if peer else self.reason


class Unauthorized(Misconfigured):
    """Stripe doesn't accept the key, or the key may not do this."""

    def __init__(self, failure: Failure) -> None:
        what = "has the permissions which the README lists for what runs"
        if failure.operation.startswith("webhook_endpoints."):
            what += "; `setup --webhook` alone also writes webhook endpoints"
        fix = f"Give a secret key, or a restricted key that {what}"
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
    | Throttled | KeyInUse | CursorGone | Unclear | Unauthorized | SharedRefusal
)  # fmt: skip
"""Each of them carries its `failure`."""


def refusal_of(error: SubkeeperError) -> Failure | None:
    """What Stripe has refused for good, be it from memory: the answer to the first request under the key is that of
    all. None: something else."""
    if isinstance(error, (Refused, SharedRefusal, CustomerGone, FieldRefused, TrialPassed)):
        return error.failure
    if not isinstance(error, KeyBurnt) or error.failure.type == "idempotency_error":
        return None
    status = error.failure.status or 0
    return error.failure if 400 <= status < 500 else None

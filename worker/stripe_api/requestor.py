"""One call to Stripe: a permit, a deadline, a key, a short retry, and the answer with its place in Stripe's time."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast
from urllib.parse import quote

import stripe
from tenacity import RetryCallState, Retrying

from worker.domain.backoff import backoff
from worker.domain.clocks import StripeClock
from worker.domain.deadline import Clock, Deadline, OutOfTime
from worker.domain.lanes import Lane
from worker.domain.stripe_facts import AccountFact, Answer
from worker.stripe_api.credentials import Credentials, KeyedClient
from worker.stripe_api.errors import KeyInUse, StripeFailure, Throttled, Unauthorized, Unclear
from worker.stripe_api.http_client import TIMEOUT_HEADER, Headers
from worker.stripe_api.limiter.limiter import LIVE_PREFIXES, Limiter
from worker.stripe_api.parsing import account_fact
from worker.stripe_api.reads import Reads
from worker.stripe_api.reporting import FailureLog
from worker.stripe_api.translate import translate
from worker.telemetry import Metrics

RETRY_WITHIN = 1.8
"""Seconds after its first attempt in which a call may be attempted again here; what takes longer is the row's to wait
for. Under 2 s, so that a lease's thread isn't spent on waiting."""

FIRST_PAUSE = 0.1
"""Seconds before the second attempt at most; doubled for each further one, and jittered down to a half."""


T = TypeVar("T")


@dataclass(slots=True)
class Call:
    """What to send. `operation` (`"customers.create"`) is the limiter's endpoint and the metrics' label."""

    operation: str
    method: str
    path: str
    params: Mapping[str, object]
    lane: Lane
    deadline: Deadline
    key: str | None = None
    once: bool = False
    """Whether it is not attempted again here: whoever asks counts each request."""
    sent_at: float | None = None
    """When the first attempt left (by the clock): a later one may be answered with the first one's effect."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Stripe's JSON, and when it was true."""

    data: Mapping[str, object]
    seen_from: datetime
    seen_to: datetime
    replayed: bool
    request_id: str | None

    def answer(self, fact: Callable[[object], T]) -> Answer[T]:
        return Answer(fact(self.data), self.seen_from, self.seen_to, self.replayed, self.request_id)


class Requestor:
    """Sends calls to `peer` (a URL) from any thread, each for up to `timeout` seconds. Raises what
    `worker.stripe_api.errors` lists, or `TryLater` near a deadline."""

    def __init__(
        self,
        credentials: Credentials,
        limiter: Limiter,
        stripe_time: StripeClock,
        *,
        peer: str,
        timeout: float,
        rng: random.Random,
        observe: Metrics,
        reads: Reads | None,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._credentials = credentials
        self._reloading = threading.Lock()
        self._peer = peer
        self._timeout = timeout
        self._limiter = limiter
        self._stripe_time = stripe_time
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._reads = reads
        self._log = FailureLog()
        self._retrying = Retrying(retry=_is_quick, wait=self._pause, stop=self._is_too_late, sleep=sleep, reraise=True)

    def send(self, call: Call) -> Reply:
        """The reply, after short retries. A refused key is read anew, in case it was rotated."""
        client = self._credentials.client
        try:
            return self._retrying(self._attempt, call, client)
        except OutOfTime as late:
            late.sent = call.sent_at is not None
            raise
        except Unauthorized:
            self.reload()
            if self._credentials.client is client:
                raise
            return self._retrying(self._attempt, call, self._credentials.client)

    def reload(self) -> None:
        """Read the secret key anew (it may have been rotated). Raises `Misconfigured` if it can't replace the old."""
        with self._reloading:
            candidate = self._credentials.candidate()
            if candidate is not None:
                deadline = Deadline.after(self._timeout, self._clock)
                self._credentials.replace(
                    candidate, lambda: _account(lambda call: self._attempt(call, candidate), candidate, deadline)
                )

    def account(self, deadline: Deadline) -> AccountFact:
        """The account behind the key."""
        return _account(self.send, self._credentials.client, deadline)

    def _attempt(self, call: Call, client: KeyedClient) -> Reply:
        with self._limiter.permit(call.operation, call.lane, call.deadline):
            call.deadline.check()
            began = self._clock()
            call.sent_at = call.sent_at or began
            if self._reads is not None and call.method == "get":
                self._reads.sent(call.operation)
            try:
                response = self.request(client, call)
            except stripe.StripeError as error:
                headers = error.headers or {}
                failure = translate(error, call.operation, self._peer)
                if failure.failure.type is not None:  # without a type it isn't Stripe who speaks, but a proxy
                    self._stripe_time.read(headers)
                self._failed(failure, self._clock() - began)
                raise failure from error
        self._observe.stripe_call(call.operation, "ok", self._clock() - began)
        return self._reply(response, call.sent_at)

    def request(self, client: KeyedClient, call: Call) -> stripe.StripeResponse:
        """Send once.

        `raw_request` and not `client.v1`: for a subscription's answer of 5 kB, plain JSON took 0.6 ms of CPU all in
        all, and typed objects 1.9 ms (CPython 3.11). The facts check what the types would have promised.
        """
        options: dict[str, object] = {"headers": {TIMEOUT_HEADER: str(call.deadline.timeout(self._timeout))}}
        if call.key:
            options["idempotency_key"] = call.key
        try:
            raw = client.stripe.raw_request(call.method, call.path, **call.params, **options)
        except AttributeError as error:  # `stripe` takes "error" for an object: in a proxy's JSON it is often a text
            raise stripe.APIError("no answer of Stripe's") from error
        return cast("stripe.StripeResponse", raw)

    def _reply(self, response: stripe.StripeResponse, sent_at: float) -> Reply:
        headers = response.headers
        seen_from, seen_to = self._stripe_time.seen(headers, sent_at)
        replayed = headers.get("idempotent-replayed") == "true"
        content = headers.content if isinstance(headers, Headers) else None
        data = content or cast("Mapping[str, object]", response.data)  # the facts check it, field by field
        return Reply(data, seen_from, seen_to, replayed, headers.get("request-id"))

    def _failed(self, error: StripeFailure, seconds: float) -> None:
        failure = error.failure
        if isinstance(error, Throttled):
            self._limiter.throttled(failure.operation, _reason(error))
        outcome = _snake(type(error).__name__)
        self._observe.stripe_call(failure.operation, outcome, seconds)
        self._log.failed(failure, outcome)

    def _pause(self, state: RetryCallState) -> float:
        return backoff(state.attempt_number, FIRST_PAUSE, 2 * RETRY_WITHIN, self._rng)

    def _is_too_late(self, state: RetryCallState) -> bool:
        call: Call = state.args[0]
        waited = self._clock() - call.sent_at if call.sent_at is not None else 0.0
        return waited + state.upcoming_sleep > RETRY_WITHIN or call.deadline.remaining() < state.upcoming_sleep + 1


def _account(send: Callable[[Call], Reply], client: KeyedClient, deadline: Deadline) -> AccountFact:
    """The account behind the key of `client`, with which `send` sends.

    A restricted key may not be able to read it, whatever it is granted; then Stripe's refusal names the account
    (https://github.com/stripe/stripe-node/issues/2246). Raises `Unauthorized` where it doesn't.
    """
    livemode = client.key.startswith(LIVE_PREFIXES)
    call = Call("account.retrieve", "get", "/v1/account", {}, Lane.LIVE, deadline)
    try:
        return account_fact(send(call).data, livemode=livemode)
    except Unauthorized as refusal:
        if refusal.failure.status != 403 or refusal.failure.account is None:
            raise
        return AccountFact(refusal.failure.account, livemode)


def _is_quick(state: RetryCallState) -> bool:
    """Whether another attempt makes sense at once: what failed quickly, a read (repeating it harms nothing), and a 429,
    whose next attempt waits for the limiter that it has just slowed."""
    error = state.outcome.exception() if state.outcome else None
    call: Call = state.args[0]
    if call.once:
        return False
    if isinstance(error, Throttled):
        return True
    return isinstance(error, (Unclear, KeyInUse)) and (error.failure.quick or call.key is None)


def _reason(error: Throttled) -> str | None:
    """A lock timeout is about one object; slowing its endpoint is enough."""
    return error.failure.reason or ("endpoint-rate" if error.failure.code == "lock_timeout" else None)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def segment(stripe_id: str) -> str:
    """An id as a part of a path."""
    return quote(stripe_id, safe="")

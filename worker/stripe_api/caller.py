"""One call to Stripe: a permit, a deadline, a key, a short retry, and the answer with its place in Stripe's time."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import cast

import stripe
from tenacity import RetryCallState, Retrying

from worker.stripe_api.call import Call, Reply
from worker.stripe_api.clock import StripeClock
from worker.stripe_api.deadline import OutOfTime, boot_time
from worker.stripe_api.errors import KeyInUse, StripeFailure, Throttled, Unauthorized, Unclear
from worker.stripe_api.limiter import Limiter
from worker.stripe_api.reporting import FailureLog
from worker.stripe_api.session import Session
from worker.stripe_api.translate import translate
from worker.telemetry import Metrics

RETRY_WITHIN = 1.8
"""Seconds after its first attempt in which a call may be attempted again here; what takes longer is the row's to wait
for. Under 2 s, so that a lease's thread isn't spent on waiting."""

FIRST_PAUSE = 0.1
"""Seconds before the second attempt at most; doubled for each further one, and jittered down to a half."""


class Caller:
    """Sends calls from any thread. Raises what `worker.stripe_api.errors` lists, or `TryLater` near a deadline."""

    def __init__(
        self,
        session: Session,
        limiter: Limiter,
        clock: StripeClock,
        *,
        rng: random.Random,
        observe: Metrics,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._limiter = limiter
        self._clock = clock
        self._rng = rng
        self._observe = observe
        self._log = FailureLog()
        self._retrying = Retrying(retry=_is_quick, wait=self._pause, stop=_too_late, sleep=sleep, reraise=True)

    def send(self, call: Call) -> Reply:
        """The reply, after short retries. A refused key is read anew, in case it was rotated."""
        client = self._session.client
        try:
            return self._retrying(self._attempt, call, client)
        except OutOfTime as late:
            late.sent = call.sent_at is not None
            raise
        except Unauthorized:
            if self._session.reload(self.send_with) is client:
                raise
            return self._retrying(self._attempt, call, self._session.client)

    def send_with(self, client: stripe.StripeClient, call: Call) -> Reply:
        """The reply to one attempt by this client, which needn't be the session's yet."""
        return self._attempt(call, client)

    def _attempt(self, call: Call, client: stripe.StripeClient) -> Reply:
        with self._limiter.permit(call.operation, call.lane, call.deadline):
            call.deadline.check()
            began = boot_time()
            call.sent_at = call.sent_at or began
            try:
                response = self._session.request(client, call)
            except stripe.StripeError as error:
                headers = error.headers or {}
                failure = translate(error, call.operation, self._session.peer)
                if failure.failure.type is not None:  # without a type it isn't Stripe who speaks, but a proxy
                    self._clock.read(headers)
                self._failed(failure, boot_time() - began)
                raise failure from error
        self._observe.stripe_call(call.operation, "ok", boot_time() - began)
        return self._reply(response, call.sent_at)

    def _reply(self, response: stripe.StripeResponse, sent_at: float) -> Reply:
        headers = response.headers
        seen_from, seen_to = self._clock.seen(headers, sent_at)
        replayed = headers.get("idempotent-replayed") == "true"
        data = cast("Mapping[str, object]", response.data)  # the facts check it, field by field
        return Reply(data, seen_from, seen_to, replayed, headers.get("request-id"))

    def _failed(self, error: StripeFailure, seconds: float) -> None:
        failure = error.failure
        if isinstance(error, Throttled):
            self._limiter.throttled(failure.operation, _reason(error))
        outcome = _snake(type(error).__name__)
        self._observe.stripe_call(failure.operation, outcome, seconds)
        self._log.failed(failure, outcome)

    def _pause(self, state: RetryCallState) -> float:
        pause = FIRST_PAUSE * 2.0 ** (state.attempt_number - 1)
        return pause * self._rng.uniform(0.5, 1.0)


def _is_quick(state: RetryCallState) -> bool:
    """Whether another attempt makes sense at once: what failed quickly, a read (repeating it harms nothing), and a 429,
    whose next attempt waits for the limiter that it has just slowed."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Throttled):
        return True
    call: Call = state.args[0]
    return isinstance(error, (Unclear, KeyInUse)) and (error.failure.quick or call.key is None)


def _too_late(state: RetryCallState) -> bool:
    call: Call = state.args[0]
    waited = state.seconds_since_start or 0.0
    return waited + state.upcoming_sleep > RETRY_WITHIN or call.deadline.remaining() < state.upcoming_sleep + 1


def _reason(error: Throttled) -> str | None:
    """A lock timeout is about one object; slowing its endpoint is enough."""
    return error.failure.reason or ("endpoint-rate" if error.failure.code == "lock_timeout" else None)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()

"""This Stripe without its sockets: a request goes through `open`, `begin`, `execute`, each synchronous.

Between them the server may wait (latency) or cut the connection; the idempotency key stays in use from `begin` until
`execute` has kept an answer, or `abandon`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.stripe import identifiers
from sandbox.stripe.call import Answer, Call, Context
from sandbox.stripe.clock import Clock
from sandbox.stripe.clockwork import Clockwork
from sandbox.stripe.errors import ApiError, lock_timeout, no_such, rate_limited, server_error, underway
from sandbox.stripe.events.webhooks import Webhooks
from sandbox.stripe.expand import Expander
from sandbox.stripe.faults import Fault, Faults
from sandbox.stripe.forms import decode, fingerprint, text_at
from sandbox.stripe.idempotency import Saved, key_in_use
from sandbox.stripe.journal import Journal
from sandbox.stripe.keys import Keys
from sandbox.stripe.ledger import Ledger, Transaction
from sandbox.stripe.limits import Limits
from sandbox.stripe.passing_time import settle
from sandbox.stripe.request_log import RequestLog
from sandbox.stripe.routes import route
from sandbox.stripe.shapes import rendered
from sandbox.stripe.versions import known

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class Service:
    """One account. `now` is the real clock (seconds since the epoch), `monotonic` one that never steps back."""

    def __init__(
        self,
        *,
        secret_key: str | None,
        seed: str,
        state_file: Path | None,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        unlimited_test_clocks: bool = False,
    ) -> None:
        self.secret_key = secret_key or identifiers.secret_key(seed)
        self.account = identifiers.account_id(seed)
        self.clock = Clock(now)
        self.monotonic = monotonic
        self.ledger = Ledger(seed, Journal(state_file) if state_file else None)
        self.ledger.unlimited_test_clocks = unlimited_test_clocks
        self.clockwork = Clockwork(monotonic)
        self.clock.offset = self.ledger.load()
        self.log = RequestLog()
        self.faults = Faults(seed)
        self.webhooks = Webhooks(self.ledger, self.clock, seed)
        self._seed = seed
        self._request_ids = identifiers.Identifiers(f"{seed}:requests:{secrets.token_hex(8) if state_file else ''}")
        self.reset_access()

    def reset_access(self) -> None:
        """Keys and limits as at the start."""
        self.keys = Keys(self.secret_key, self.account)
        self.limits = Limits()

    def reset(self) -> None:
        """An empty account: no objects, no keys but the first, no limits, no faults, real time."""
        self.ledger.reset()
        self.log = RequestLog()
        self.faults.clear()
        self.webhooks.reset()
        self.clock.offset = 0.0
        self.clock.freeze(frozen=False)
        self.reset_access()

    def set_limits(self, account_rate: float | None, endpoint_rate: float | None) -> None:
        """Requests per second; None for no limit."""
        self.limits = Limits(account_rate, endpoint_rate)

    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)
        self.ledger.remember_clock(self.clock.offset)
        self.ledger.deliveries.changed()

    def turn(self) -> bool:
        """A part of what advances test clocks; whether there is more to do."""
        return self.clockwork.turn(self.ledger, self.clock.now())

    def open(self, method: str, path: str, form: bytes, headers: Mapping[str, str]) -> Call:
        """The request as read; what is wrong with it is said later (`begin`)."""
        key = headers.get("Idempotency-Key") if method == "POST" else None
        call = Call(
            method=method,
            path=path,
            params={},
            request_id=self._request_ids.short("req"),
            authorization=headers.get("Authorization", ""),
            version=headers.get("Stripe-Version", self.ledger.api_version),
            key=key,
            user_id=None,
        )
        try:
            call.params = decode(form)
        except ApiError as error:
            call.malformed = error
        call.user_id = text_at(call.params, "metadata", "user_id")
        return call

    def begin(self, call: Call, fault: Fault | None) -> Answer | None:
        """The answer to a request that execution never sees (refused, limited, replayed); None for the others."""
        try:
            endpoint, _ = route(call.method, call.path)
            self.keys.check(call.authorization, endpoint.permission)
            _check_version(call.version)
            if fault is not None and fault.kind == "status" and fault.when == "before" and not fault.sticky:
                raise _fault_error(fault, call)
            self.limits.check(endpoint.name, self.monotonic())
            if call.malformed is not None:
                raise call.malformed
            return self._take_key(call)
        except ApiError as error:
            return self._error(call, error)

    def _take_key(self, call: Call) -> Answer | None:
        if not call.key:
            return None
        call.fingerprint = fingerprint(call.method, call.path, call.params)
        store, now = self.ledger.idempotency, self.clock.time()
        saved = store.begin(call.key, call.fingerprint, call.path, call.request_id, now)
        if saved is not None:
            return self._replay(call, saved)
        call.holds_key = True
        return None

    def abandon(self, call: Call) -> None:
        """Execution will not happen, or is over: a key that this request took is free unless an answer was kept."""
        if call.key and call.holds_key:
            self.ledger.idempotency.release(call.key)
            call.holds_key = False

    def execute(self, call: Call, fault: Fault | None) -> Answer:
        """Does what the request asks and keeps the answer under its key; `fault` may replace effect or answer."""
        now = self.clock.now()
        settle(self.ledger, now)
        self.clockwork.turn(self.ledger, now)
        tx = Transaction(self.ledger, now, now, call.request_id, call.key)
        failing = fault if fault is not None and fault.kind == "status" else None
        try:
            body = self._run(call, tx, failing)
            status, saved = 200, True
        except ApiError as error:
            if not error.keeps:
                tx.puts.clear()
            body, status, saved = error.body(call.request_id, self.account), error.status, error.saved
        answer = self._answer(call, status, body)
        kept = answer
        if failing is not None and failing.when == "after":
            answer = self._error(call, _fault_error(failing, call))
            kept, saved = (answer, saved) if failing.sticky else (kept, saved)
        self.ledger.commit(tx, self._saved(call, kept) if saved and call.key else None)
        self.abandon(call)
        return answer

    def _run(self, call: Call, tx: Transaction, failing: Fault | None) -> Any:
        endpoint, identifier = route(call.method, call.path)
        params = endpoint.spec.check(call.params)
        if failing is not None and failing.when == "before":
            raise _fault_error(failing, call)
        ctx = Context(self.ledger, tx, params, identifier, self.keys.account(call.authorization))
        try:
            result = endpoint.endpoint(ctx)
        except ApiError as error:
            if error.keeps:
                self.check_clock(tx)
            raise
        self.check_clock(tx)
        result = rendered(result, call.version, self.ledger.find)
        if not params.get("expand"):
            return result
        return Expander(self.ledger, tx.puts, call.version).expand(result, params["expand"])

    def check_clock(self, tx: Transaction) -> None:
        """429 for what changes an object whose test clock advances, unless the clock itself goes."""
        if tx.clock in self.ledger.advancing and tx.puts and tx.clock not in tx.puts:
            raise underway(tx.clock)

    def _saved(self, call: Call, answer: Answer) -> Saved:
        assert call.key is not None
        return Saved(
            key=call.key,
            fingerprint=call.fingerprint,
            path=call.path,
            at=self.clock.time(),
            status=answer.status,
            body=answer.body.decode(),
            request_id=call.request_id,
        )

    def _replay(self, call: Call, saved: Saved) -> Answer:
        answer = Answer(saved.status, saved.body.encode(), self._headers(call), replayed=True)
        answer.headers["Original-Request"] = saved.request_id
        answer.headers["Idempotent-Replayed"] = "true"
        return answer

    def _error(self, call: Call, error: ApiError) -> Answer:
        answer = self._answer(call, error.status, error.body(call.request_id, self.account))
        answer.headers.update(error.headers)
        return answer

    def _answer(self, call: Call, status: int, body: Any) -> Answer:
        return Answer(status, _ENCODE(body).encode(), self._headers(call))

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Date": self.clock.http_date(),
            "Request-Id": call.request_id,
            "Stripe-Version": call.version,
        }
        if call.key:
            headers["Idempotency-Key"] = call.key
            headers["Original-Request"] = call.request_id
        return headers


def _check_version(version: str) -> None:
    if not known(version):
        raise ApiError(400, f"Invalid Stripe API version: {version[:50]}")


def _fault_error(fault: Fault, call: Call) -> ApiError:
    error = server_error(fault.status)
    if fault.code == "resource_missing":
        error = no_such("customer", "cus_denied", "customer")
    if fault.status == 409:
        error = key_in_use(call.key or "")
    if fault.status == 429:
        error = lock_timeout() if fault.code == "lock_timeout" else rate_limited(fault.reason)
    if fault.param is not None:
        error = ApiError(fault.status, f"Invalid {fault.param}", param=fault.param)
    error.saved = fault.sticky
    return error

"""The idempotency store against a plain model of Stripe's words, in any order of requests, answers and hours."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox.stripe.errors import ApiError
from sandbox.stripe.idempotency import KEPT_SECONDS, IdempotencyStore, Saved

KEYS = st.sampled_from(["a", "b"])
PRINTS = st.sampled_from(["one", "two"])


@dataclass
class _Known:
    print: str
    at: float | None
    body: str = ""


class Idempotency(RuleBasedStateMachine):
    """`known` says what a key must answer; `running` are the keys whose execution has begun."""

    @initialize()
    def start(self) -> None:
        self.store = IdempotencyStore()
        self.now = 1_000_000.0
        self.known: dict[str, _Known] = {}
        self.count = 0

    def _expected(self, key: str, fingerprint: str) -> str:
        known = self.known.get(key)
        if known is not None and known.at is not None and self.now - known.at >= KEPT_SECONDS:
            known = None
            del self.known[key]
        if known is None:
            return "begin"
        if known.print != fingerprint:
            return "400"
        return "409" if known.at is None else f"replay {known.body}"

    @rule(key=KEYS, fingerprint=PRINTS)
    def begin(self, key: str, fingerprint: str) -> None:
        expected = self._expected(key, fingerprint)
        try:
            saved = self.store.begin(key, fingerprint, "/v1/customers", "req_x", self.now)
            found = "begin" if saved is None else f"replay {saved.body}"
        except ApiError as error:
            found = str(error.status)
        assert found == expected
        if found == "begin":
            self.known[key] = _Known(fingerprint, None)

    def _running(self) -> list[str]:
        return sorted(key for key, known in self.known.items() if known.at is None)

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self._running()))
        self.count += 1
        known = self.known[key]
        known.at, known.body = self.now, f"answer {self.count}"
        self.store.keep(Saved(key, known.print, "/v1/customers", self.now, 200, known.body, "req_x"))
        self.store.release(key)

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def fail_validation(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self._running()))
        self.store.release(key)
        del self.known[key]

    @rule(seconds=st.sampled_from([1.0, 3600.0, 12 * 3600.0, KEPT_SECONDS - 1.0, float(KEPT_SECONDS)]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def pruning_leaves_what_is_young(self) -> None:
        if not hasattr(self, "store"):
            return
        young = [known for known in self.known.values() if known.at is not None and self.now - known.at < KEPT_SECONDS]
        assert self.store.prune_all(self.now) == len(young)


Idempotency.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestIdempotency = Idempotency.TestCase

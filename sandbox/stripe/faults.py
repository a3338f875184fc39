"""What goes wrong on demand: rules that match requests, and a chaos profile that draws from a seed.

A rule is `{"match": {method?, path?, path_regex?, idempotency_key?, user_id?}, "times"?: n, "probability"?: p,
"fault": {…}}`; `path` is a prefix. A request takes the first rule of kind `latency` that matches and the first of any
other kind. The faults, by `kind` (times in milliseconds):

- `latency`: `dist` fixed (`ms`), uniform (`low`, `high`) or lognormal (`median`, `sigma`)
- `status`: `status` (429, 500, 503, …), `when` before or after the effect, `sticky` (kept under the idempotency key;
  by default 500s are and everything else isn't), `reason` (of a 429) or `code: lock_timeout`, `param` (of a 400: what
  it is about); a 400 with `code: resource_missing` denies that the customer is there; a 409 is that of a key in use
- `drop`: the connection is cut, `when` before or after the effect
- `hang`: never answers, `when` before or after the effect
- `slow_body`: the body trickles for `ms`; `finish: false` never sends its last byte
- `partial`: half of the body, then the connection is cut
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sandbox.stripe.call import Call

Kind: TypeAlias = Literal["latency", "status", "drop", "hang", "slow_body", "partial"]
When: TypeAlias = Literal["before", "after"]

_KINDS = ("latency", "status", "drop", "hang", "slow_body", "partial")
_MATCHES = {"method", "path", "path_regex", "idempotency_key", "user_id"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as the module's docstring describes it."""

    kind: Kind
    when: When = "before"
    status: int = 500
    sticky: bool = False
    reason: str = "global-rate"
    code: str | None = None
    param: str | None = None
    ms: float = 0.0
    finish: bool = True
    dist: str = "fixed"
    low: float = 0.0
    high: float = 0.0
    median: float = 0.0
    sigma: float = 0.5

    def seconds(self, rng: random.Random) -> float:
        """A draw of a latency, in seconds."""
        if self.dist == "uniform":
            return rng.uniform(self.low, self.high) / 1000
        if self.dist == "lognormal":
            return self.median * rng.lognormvariate(0.0, self.sigma) / 1000
        return self.ms / 1000

    @property
    def name(self) -> str:
        """As the request log shows it."""
        what = f"status:{self.status}" if self.kind == "status" else self.kind
        return f"{what}:{self.when}" if self.kind in ("status", "drop", "hang") else what


def parse_fault(given: Mapping[str, Any]) -> Fault:
    """A fault from JSON; ValueError says what is wrong with it."""
    unknown = set(given) - set(Fault.__dataclass_fields__)
    if unknown or given.get("kind") not in _KINDS:
        raise ValueError(f"unknown fault: {dict(given)!r} (kinds: {', '.join(_KINDS)})")
    if given.get("when", "before") not in ("before", "after"):
        raise ValueError("a fault's `when` is before or after")
    sticky = given.get("sticky", given["kind"] == "status" and given.get("status", 500) == 500)
    return Fault(**{**given, "sticky": bool(sticky)})


@dataclass(slots=True)
class Rule:
    """A fault, for which requests, and how often still (`times` None: always)."""

    fault: Fault
    match: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    probability: float = 1.0

    def takes(self, call: Call, rng: random.Random) -> bool:
        if self.times == 0 or not self._matches(call):
            return False
        if self.probability < 1.0 and rng.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def _matches(self, call: Call) -> bool:
        wanted = self.match
        return (
            wanted.get("method", call.method) == call.method
            and call.path.startswith(wanted.get("path", ""))
            and ("path_regex" not in wanted or re.search(wanted["path_regex"], call.path) is not None)
            and wanted.get("idempotency_key", call.key) == call.key
            and wanted.get("user_id", call.user_id) == call.user_id
        )


def parse_rule(given: Mapping[str, Any]) -> Rule:
    """A rule from JSON; ValueError says what is wrong with it."""
    match = dict(given.get("match", {}))
    if set(given) - {"match", "times", "probability", "fault"} or set(match) - _MATCHES:
        raise ValueError(f"unknown field in rule: {dict(given)!r}")
    if "path_regex" in match:
        re.compile(match["path_regex"])
    return Rule(parse_fault(given["fault"]), match, given.get("times"), given.get("probability", 1.0))


CHAOS: dict[str, Fault] = {
    "rate_limited": Fault("status", status=429),
    "lock_timeout": Fault("status", status=429, code="lock_timeout"),
    "unavailable": Fault("status", status=503),
    "error_before": Fault("status", status=500, sticky=True),
    "error_after": Fault("status", "after", status=500, sticky=True),
    "drop_before": Fault("drop"),
    "drop_after": Fault("drop", "after"),
    "partial": Fault("partial"),
    "slow_body": Fault("slow_body", ms=300),
}
"""The faults that a chaos profile gives rates (0..1) for."""


@dataclass(slots=True)
class Plan:
    """What happens to one request: seconds of latency, and at most one other fault."""

    latency: float = 0.0
    fault: Fault | None = None


class Faults:
    """The rules, the default latency, and the chaos profile."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(f"faults:{seed}")  # noqa: S311 - faults are drawn from a seed to be repeatable
        self.rules: list[Rule] = []
        self.default_latency: Fault | None = None
        self._chaos: dict[str, float] = {}

    def clear(self) -> None:
        self.rules, self.default_latency, self._chaos = [], None, {}

    def chaos(self, seed: int, rates: Mapping[str, float], latency: Fault | None) -> None:
        """Draws faults at these rates from `seed` from now on; ValueError for unknown names or rates above 1."""
        if set(rates) - set(CHAOS) or sum(rates.values()) > 1:
            raise ValueError(f"chaos rates are {', '.join(CHAOS)} and sum up to 1 at most")
        self._rng = random.Random(seed)  # noqa: S311 - as above
        self._chaos = dict(rates)
        self.default_latency = latency or self.default_latency

    def draw(self, call: Call) -> Plan:
        """What shall happen to this request."""
        latency, fault = self._by_rules(call)
        if fault is None and self._chaos:
            fault = self._by_chaos()
        slow = latency or self.default_latency
        return Plan(slow.seconds(self._rng) if slow else 0.0, fault)

    def _by_rules(self, call: Call) -> tuple[Fault | None, Fault | None]:
        latency: Fault | None = None
        fault: Fault | None = None
        for rule in self.rules:
            taken = latency if rule.fault.kind == "latency" else fault
            if taken is None and rule.takes(call, self._rng):
                if rule.fault.kind == "latency":
                    latency = rule.fault
                else:
                    fault = rule.fault
        return latency, fault

    def _by_chaos(self) -> Fault | None:
        draw = self._rng.random()
        for name, rate in self._chaos.items():
            draw -= rate
            if draw < 0:
                return CHAOS[name]
        return None

"""What happens to deliveries on demand: rules that match them, as `faults.py` has for requests.

A rule is `{"match": {type?, endpoint?, object?}, "times"?: n, "probability"?: p, "mishap": {…}}`; `type` may end in
`*`, `object` is the id of what the event is about. An attempt takes the first rule of each kind that matches. The
kinds (times in real milliseconds):

- `drop`: it never leaves. Stripe tries no more, unless `retried`; `acknowledged`: and takes it for delivered
- `duplicate`: it arrives `copies` times (2), `ms` apart
- `delay`: it leaves `ms` later, or between `low` and `high`
- `reorder`: it waits until `held` (2) are waiting at its endpoint, or `ms` (1000) have passed; then they leave in
  `order`: `reverse`, or `shuffle`
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sandbox.stripe.objects import Obj

Kind: TypeAlias = Literal["drop", "duplicate", "delay", "reorder"]
_KINDS = ("drop", "duplicate", "delay", "reorder")
_MATCHES = {"type", "endpoint", "object"}


@dataclass(frozen=True, slots=True)
class Mishap:
    """One mishap, as the module's docstring describes it."""

    kind: Kind
    ms: float | None = None
    low: float | None = None
    high: float | None = None
    copies: int = 2
    held: int = 2
    order: Literal["reverse", "shuffle"] = "reverse"
    retried: bool = False
    acknowledged: bool = False


@dataclass(slots=True)
class MishapRule:
    """A mishap, for which deliveries, and how often still (`times` None: always)."""

    mishap: Mishap
    match: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    probability: float = 1.0

    def takes(self, event: Obj, endpoint: str, rng: random.Random) -> bool:
        if self.times == 0 or not self._matches(event, endpoint):
            return False
        if self.probability < 1.0 and rng.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def _matches(self, event: Obj, endpoint: str) -> bool:
        kind, about = self.match.get("type", "*"), event["data"]["object"].get("id")
        return (
            (event["type"].startswith(kind[:-1]) if kind.endswith("*") else event["type"] == kind)
            and self.match.get("endpoint", endpoint) == endpoint
            and self.match.get("object", about) == about
        )


def parse_mishap(given: Mapping[str, Any]) -> MishapRule:
    """A rule from JSON; ValueError says what is wrong with it."""
    match, mishap = dict(given.get("match", {})), dict(given["mishap"])
    if set(given) - {"match", "times", "probability", "mishap"} or set(match) - _MATCHES:
        raise ValueError(f"unknown field in rule: {dict(given)!r}")
    if set(mishap) - set(Mishap.__dataclass_fields__) or mishap.get("kind") not in _KINDS:
        raise ValueError(f"unknown mishap: {mishap!r} (kinds: {', '.join(_KINDS)})")
    if mishap.get("order", "reverse") not in ("reverse", "shuffle"):
        raise ValueError("a reordering's `order` is reverse or shuffle")
    return MishapRule(Mishap(**mishap), match, given.get("times"), given.get("probability", 1.0))


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one attempt: seconds that it waits, how often it is sent, and whether it is dropped or held."""

    names: tuple[str, ...] = ()
    drop: Mishap | None = None
    delay: float = 0.0
    copies: int = 1
    gap: float = 0.0
    hold: Mishap | None = None


class Mishaps:
    """The rules there are, and their chance."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        self.rng = random.Random(f"mishaps:{self._seed}")  # noqa: S311 - drawn from a seed to be repeatable
        self.rules: list[MishapRule] = []

    def draw(self, event: Obj, endpoint: str) -> Fate:
        taken: dict[str, Mishap] = {}
        for rule in self.rules:
            if rule.mishap.kind not in taken and rule.takes(event, endpoint, self.rng):
                taken[rule.mishap.kind] = rule.mishap
        copies = taken.get("duplicate")
        return Fate(
            names=tuple(taken),
            drop=taken.get("drop"),
            delay=self._delay(taken.get("delay")),
            copies=copies.copies if copies else 1,
            gap=(copies.ms or 0.0) / 1000 if copies else 0.0,
            hold=taken.get("reorder"),
        )

    def _delay(self, mishap: Mishap | None) -> float:
        if mishap is None:
            return 0.0
        if mishap.low is not None and mishap.high is not None:
            return self.rng.uniform(mishap.low, mishap.high) / 1000
        return (mishap.ms or 0.0) / 1000

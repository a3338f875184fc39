"""Fault rules and the chaos profile, drawn from a seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sandbox.stripe.call import Call
from sandbox.stripe.errors import ApiError
from sandbox.stripe.faults import Faults, parse_fault, parse_rule
from sandbox.stripe.limits import Limits


def _call() -> Call:
    return Call(
        method="POST",
        path="/v1/customers",
        params={},
        request_id="req_1",
        authorization="",
        version="",
        key="k",
        user_id="u1",
    )


def test_a_request_takes_a_latency_and_one_other_fault() -> None:
    faults = Faults("s")
    faults.rules = [parse_rule({"fault": fault}) for fault in ({"kind": "latency", "ms": 5}, {"kind": "drop"})]
    faults.rules.append(parse_rule({"fault": {"kind": "hang"}}))
    plan = faults.draw(_call())
    assert (plan.latency, plan.fault and plan.fault.kind) == (0.005, "drop")


def test_a_rule_ends_after_its_times() -> None:
    faults = Faults("s")
    faults.rules = [parse_rule({"fault": {"kind": "drop"}, "times": 2})]
    assert [faults.draw(_call()).fault is not None for _ in range(3)] == [True, True, False]


def test_only_a_500_is_sticky_by_itself() -> None:
    assert parse_fault({"kind": "status", "status": 500}).sticky
    assert not parse_fault({"kind": "status", "status": 503}).sticky
    assert not parse_fault({"kind": "status", "status": 500, "sticky": False}).sticky


def test_chaos_comes_at_about_its_rates_and_from_its_seed() -> None:
    def draws() -> list[str | None]:
        faults = Faults("s")
        faults.chaos(11, {"drop_after": 0.1, "error_before": 0.2}, None)
        return [plan.fault.name if plan.fault else None for plan in (faults.draw(_call()) for _ in range(2000))]

    first = draws()
    assert draws() == first
    counts = Counter(first)
    assert 140 < counts["drop:after"] < 260
    assert 300 < counts["status:500:before"] < 500


def test_chaos_rates_are_checked() -> None:
    with pytest.raises(ValueError, match="chaos rates"):
        Faults("s").chaos(1, {"earthquake": 0.1}, None)
    with pytest.raises(ValueError, match="chaos rates"):
        Faults("s").chaos(1, {"drop_before": 0.6, "drop_after": 0.6}, None)


@pytest.mark.parametrize(
    ("fault", "median_ms"),
    [
        ({"kind": "latency", "ms": 20}, 20),
        ({"kind": "latency", "dist": "uniform", "low": 10, "high": 30}, 20),
        ({"kind": "latency", "dist": "lognormal", "median": 200, "sigma": 0.5}, 200),
    ],
)
def test_a_latencys_median_is_as_asked(fault: dict[str, object], median_ms: float) -> None:
    rng = random.Random(3)
    draws = sorted(parse_fault(fault).seconds(rng) * 1000 for _ in range(2001))
    assert draws[1000] == pytest.approx(median_ms, rel=0.1)


def test_a_limit_lets_its_rate_through() -> None:
    limits = Limits(account_rate=10)
    passed = 0
    for tick in range(300):
        try:
            limits.check("GET /v1/customers", tick / 100)
            passed += 1
        except ApiError:
            continue
    assert 35 <= passed <= 41

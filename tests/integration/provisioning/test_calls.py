"""How many requests a profile costs at Stripe: what README and Sizing say."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.stack import Stack, profile
from worker.domain.provisioning import user_digest


def asked(stack: Stack, **fields: object) -> Counter[str]:
    """What one new profile asks of Stripe, once the worker has what it needs for all."""
    stack.start_worker()
    stack.publish(profile("first"))
    stack.await_completed("first")
    before = len(stack.control.requests())
    stack.publish(profile("ada", **fields))
    stack.await_completed("ada")
    return Counter(f"{each['method']} {each['path']}" for each in stack.control.requests()[before:])


def test_a_profile_that_says_when_it_was_created_costs_two_calls(stack: Stack) -> None:
    assert asked(stack) == {"POST /v1/customers": 1, "POST /v1/subscriptions": 1}


@pytest.mark.parametrize("age", [timedelta(hours=11), timedelta(hours=13)])
def test_one_that_is_half_a_day_old_is_looked_for_too(stack: Stack, age: timedelta) -> None:
    created = (datetime.now(UTC) - age).isoformat()
    assert len(list(asked(stack, created_at=created).elements())) == (4 if age > timedelta(hours=12) else 2)


def test_one_that_does_not_costs_four(stack: Stack) -> None:
    """It may be an old one that another database knows: by its email, then among the customers."""
    assert asked(stack, created_at=None) == {
        "GET /v1/customers": 2,
        "POST /v1/customers": 1,
        "POST /v1/subscriptions": 1,
    }


def test_in_an_account_of_more_customers_than_were_walked_through_one_more_is_a_search(stack: Stack) -> None:
    for number in range(120):
        digest = user_digest("subkeeper", f"other-{number}")
        stack.call_stripe("POST", "/v1/customers", **{"metadata[subkeeper]": digest})
    stack.control.jump(timedelta(hours=2).total_seconds())
    found = asked(stack, created_at=None)
    assert found["GET /v1/customers/search"] == 1
    assert found["GET /v1/customers"] <= 3, "by email; the newest customers, and those since the youngest that it shows"
    assert found["POST /v1/customers"] == found["POST /v1/subscriptions"] == 1

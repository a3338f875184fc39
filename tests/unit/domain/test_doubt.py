"""Whose fault a refusal is."""

from __future__ import annotations

import pytest

from worker.domain.doubt import DOUBTED_USERS, GRACE, MOST_IN_GRACE, Refusal, in_doubt


@pytest.mark.parametrize(
    ("users", "age", "doubted"),
    [
        (DOUBTED_USERS, GRACE, True),
        (DOUBTED_USERS - 1, 3600.0, False),
        (DOUBTED_USERS, GRACE - 0.1, False),
        (MOST_IN_GRACE, 0.0, True),
        (MOST_IN_GRACE - 1, 0.0, False),
    ],
)
def test_three_users_for_two_seconds_or_thirty_at_once_are_in_doubt(users: int, age: float, *, doubted: bool) -> None:
    refusal = Refusal("customers.create status=400", users, age)
    assert in_doubt([refusal]) == (refusal if doubted else None)


def test_different_refusals_are_not_added_up() -> None:
    assert in_doubt([Refusal(f"code={number}", 2, 60.0) for number in range(20)]) is None


def test_the_refusal_of_most_users_is_told() -> None:
    few, many = Refusal("a", 3, 60.0), Refusal("b", 4, 3.0)
    assert in_doubt([few, many]) == in_doubt([many, few]) == many


def test_nothing_refused_is_no_doubt() -> None:
    assert in_doubt([]) is None

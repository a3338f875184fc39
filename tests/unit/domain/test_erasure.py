"""What an erasure ends, what it takes a name out of, and which messages are about a user."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from worker.domain.account_changes import Kind, Step, planned
from worker.domain.accounts import SubscriptionChange
from worker.domain.erasure import names_user, to_end, to_strip
from worker.domain.stripe_facts import SubscriptionFact

MINE, OTHERS = "my digest", "another's digest"


def sub(identifier: str, digest: str | None = MINE, status: str = "active") -> SubscriptionFact:
    return SubscriptionFact(
        id=identifier, customer_id="cus_1", user_digest=digest, price_id="price_1", price_lookup_key=None,
        status=status, canceling=False, trial_start=None, trial_end=None, period_start=None, period_end=None,
        canceled_at=None, ended_at=None, created=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def test_of_a_customer_that_goes_whatever_lives_is_canceled() -> None:
    found = [sub("a"), sub("b", OTHERS), sub("c", None, "incomplete"), sub("d", status="canceled")]
    assert to_end([*found, sub("e", status="incomplete_expired"), sub("f", status="paused")], MINE, None) == [
        "a", "b", "c", "f",
    ]  # fmt: skip


def test_of_one_that_others_own_those_are_that_name_the_user_or_that_we_know_as_theirs() -> None:
    found = [sub("a"), sub("b", OTHERS), sub("c", None), sub("d", None), sub("e", status="canceled")]
    assert to_end(found, MINE, {}) == ["a"]
    assert to_end(found, MINE, {"c": True, "e": True}) == ["a", "c"]
    assert to_end(found, MINE, {"a": False, "c": True}) == ["c"], "somebody else's, whom it named before"


def test_a_name_is_taken_out_of_those_that_have_ended_too() -> None:
    assert to_strip([sub("a", status="canceled"), sub("b", OTHERS), sub("c", None), sub("d")], MINE) == ["a", "d"]


def test_the_steps_are_in_the_order_that_makes_it_final() -> None:
    assert planned(Kind.ERASE, SubscriptionChange()) == (
        Step.SETTLED, Step.CLOSE, Step.END, Step.FORGET, Step.ERASE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "whose"),
    [
        (b'{"id": "ann", "email": 1}', True),
        (b'{"specversion": "1.0", "id": "7", "data": {"id": "ann"}}', True),
        (b'{"type": "x", "data": {"object": {"metadata": {"user_id": "ann"}}}}', True),
        (b'[{"id": "ann"}]', True),
        (b'{"id": "ann",', True),
        (b'\xff{"user_id" : "ann"', True),
        (b'{"id": "\\u0061nn"}', True),
        (b'{"id": "annette"}', False),
        (b'{"id": "bob", "name": "ann"}', False),
        (b'{"id": "bob", "name": "ann",', False),
        (b'"ann"', False),
        (b"ann", False),
        (b"", False),
        (b"[" * 100_000 + b'"id": "ann"', True),
    ],
)
def test_a_message_names_a_user_by_their_id_alone(body: bytes, whose: bool) -> None:
    assert names_user(body, "ann") is whose


def test_an_id_may_hold_what_json_and_expressions_escape() -> None:
    for user in ('a"b', "a.*", "ü", "\\"):
        for ascii_alone in (True, False):
            body = json_of({"id": user}, ascii_alone)
            assert names_user(body, user)
            assert names_user(body[:-1], user)
            assert not names_user(body[:-1], f"{user}x")


def json_of(value: object, ascii_alone: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_alone).encode()

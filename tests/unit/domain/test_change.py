"""A change as it travels."""

from __future__ import annotations

import json

from worker.domain.change import Change


def test_a_message_has_these_fields_and_nothing_else() -> None:
    change = Change(3, "ada", "sub_1", 2, {"plan": "pending"}, None, "customer.deleted")
    assert json.loads(change.body()) == {
        "id": 3,
        "user_id": "ada",
        "subscription": "sub_1",
        "version": 2,
        "before": {"plan": "pending"},
        "after": None,
        "cause": "customer.deleted",
    }


def test_a_user_id_of_any_script_is_ascii_on_the_wire() -> None:
    assert Change(1, "Ådå\u2028", "sub_1", 1, None, {}, "created").body().isascii()

"""A change as it travels."""

from __future__ import annotations

import json

from worker.domain.change import Change


def test_a_message_has_these_fields_and_nothing_else() -> None:
    change = Change(3, "ada", "sub_1", 2, '{"plan": "pending"}', None, "customer.deleted")
    assert json.loads(change.body()) == {
        "id": 3,
        "user_id": "ada",
        "subscription": "sub_1",
        "version": 2,
        "before": {"plan": "pending"},
        "after": None,
        "cause": "customer.deleted",
    }


def test_texts_of_any_script_are_as_they_were_and_in_one_line() -> None:
    body = Change(1, "Ådå\u2028\n", "sub_1", 1, None, '{"plan": "ö"}', "created").body()
    assert b"\n" not in body
    said = json.loads(body)
    assert (said["user_id"], said["after"]) == ("Ådå\u2028\n", {"plan": "ö"})

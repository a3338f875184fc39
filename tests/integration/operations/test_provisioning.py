"""`subkeeper provisioning`: the ledger, for people."""

from __future__ import annotations

import json

import pytest

from tests.integration.operations.test_quarantine import without_colors
from tests.support.commands import Commands
from tests.support.stack import Stack, profile
from tests.support.waiting import wait_until


def test_a_settled_user_is_shown_with_what_was_asked_when_with_which_key_and_what_came_back(
    stack: Stack, commands: Commands
) -> None:
    stack.start_worker()
    stack.publish(profile("u-1"))
    stack.await_completed("u-1")
    said = commands("provisioning", "show", "u-1", "--json")
    assert "example.org" not in said.out
    (shown,) = said.json
    assert (shown["state"], shown["lane"], shown["generation"], shown["profile_kept"]) == (
        "completed",
        "live",
        1,
        False,
    )
    for request, path in zip(shown["requests"], ("/v1/customers", "/v1/subscriptions"), strict=True):
        (asked,) = stack.requests("POST", path)
        assert request["idempotency_keys"] == [asked["idempotency_key"]]
        assert request["first_requested_at"] <= request["last_requested_at"]
    (subscription,) = shown["subscriptions"]
    assert subscription["stripe_subscription_id"] == shown["stripe_subscription_id"]
    assert subscription["status"] == "trialing"
    plain = commands("provisioning", "show", "u-1").out
    assert max(map(len, plain.splitlines())) <= 80 + len("subkeeper")
    assert shown["requests"][0]["idempotency_keys"][0] in plain


def test_a_user_who_waits_is_shown_with_the_lease_and_the_error(stack: Stack, commands: Commands) -> None:
    stack.control.fault("status", match={"path": "/v1/customers", "method": "POST"}, status=503)
    stack.start_worker()
    stack.publish(profile("u-1"))
    wait_until(lambda: stack.ledger("u-1").get("last_error"))
    (shown,) = commands("provisioning", "show", "u-1", "--json").json
    assert (shown["state"], shown["profile_kept"], shown["subscriptions"]) == ("pending", True, [])
    assert shown["last_error"]
    assert shown["requests"][1]["idempotency_keys"] == []
    said = commands("provisioning", "show", "u-1", "--reveal", "--json")
    assert json.loads(said.json[0]["sealed"])["email"] == "u-1@example.org"
    assert "personal data" in said.err


def test_nobody_is_a_failure_in_a_line(commands: Commands) -> None:
    said = commands("provisioning", "show", "no\x1bbody")
    assert (said.code, said.out, said.err) == (1, "", "subkeeper: no user 'no\\\\x1bbody' in the ledger\n")


def test_users_are_listed_by_state_and_age(stack: Stack, commands: Commands) -> None:
    for state, minutes in (("pending", 5), ("pending", 50), ("customer_created", 100), ("quarantined", 200)):
        stack.rows(
            """INSERT INTO provisionings (user_id, state, plan, trial_end, lane, first_seen_at, last_error)
               VALUES (%s, %s, 'pending', now(), 2, now() - %s * interval '1 minute', 'stripe 503, repeatedly')""",
            f"user-{minutes}",
            state,
            minutes,
        )

    def listed(*arguments: str) -> list[str]:
        return [row["user_id"] for row in commands("provisioning", "list", *arguments, "--json").json]

    assert listed() == ["user-100", "user-50", "user-5"]
    assert listed("--state", "pending") == ["user-50", "user-5"]
    assert listed("--state", "pending", "--older-than", "10m") == ["user-50"]
    assert listed("--state", "quarantined", "--state", "pending", "--older-than", "1h") == ["user-200"]
    assert listed("--limit", "1", "--offset", "1") == ["user-50"]
    assert commands("provisioning", "list", "--older-than", "soon").code == 2
    assert commands("provisioning", "list").out.splitlines()[0].split("\t") == [
        "user", "state", "tries", "age", "due", "last error",
    ]  # fmt: skip
    said = commands.on_a_terminal("provisioning", "list")
    assert "user-100" in said.out
    assert max(len(line) for line in without_colors(said.out).splitlines()) <= 80


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_narrow_terminal_ids_stay_whole(stack: Stack, commands: Commands, columns: int) -> None:
    user, request = "0b6e7c2a-5d1f-4f0e-9f57-3c1f6f8f1a2b", "sub_1W9qqSi9ZLJj4qAhl0ObTS2B"
    stack.rows(
        "INSERT INTO provisionings (user_id, state, plan, trial_end, lane, last_error)"
        " VALUES (%s, 'customer_created', 'pending', now(), 0, %s), ('ada', 'quarantined', 'pending', now(), 0, %s)",
        user,
        f"stripe_timeout: https://api.stripe.com did not answer in time on {request}",
        f"stripe_refused: {request} is gone",
    )
    stack.rows("UPDATE provisionings SET quarantined_at = now(), user_id = 'x' || %s WHERE user_id = 'ada'", user[1:])
    for line, whole in (("provisioning list", user), ("quarantine list", f"x{user[1:]}")):
        said = commands.on_a_terminal(*line.split(), columns=columns).out
        lines = said.splitlines()
        assert sum(whole in each for each in lines) == 1, said
        assert sum(request in each for each in lines) == 1, said
        assert all(len(each) <= columns or each.startswith(("detail: ", "last error: ")) for each in lines), said

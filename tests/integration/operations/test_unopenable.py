"""`subkeeper quarantine unopenable`: what is left where a key is lost."""

from __future__ import annotations

from tests.support.commands import Commands
from tests.support.stack import SECRET_KEY, Stack, profile
from tests.support.waiting import wait_until

LOST_KEY = "a-key-that-nobody-has-any-more-of-32-characters-or-more"


def test_profiles_whose_key_is_lost_are_set_aside_and_a_newer_message_replaces_them(
    stack: Stack, commands: Commands
) -> None:
    stack.control.fault("status", status=503, match={"path": "/v1/customers"})
    loser = stack.start_worker(SUBKEEPER_SECRET_KEY=LOST_KEY)
    stack.publish(profile("ada"))
    wait_until(lambda: stack.ledger("ada").get("last_error"))
    loser.stop()
    ours = stack.start_worker(SUBKEEPER_SECRET_KEY=SECRET_KEY)
    stack.publish(profile("bob"))
    wait_until(lambda: stack.ledger("bob"))
    wait_until(lambda: ours.metric("subkeeper_unopenable_profiles") == 1)
    assert commands("quarantine", "unopenable", "--yes").out == "1 profile set aside, 0 changes failed\n"
    assert commands("quarantine", "unopenable").out == "0 profiles set aside, 0 changes failed\n"
    (row,) = commands("quarantine", "list", "--json").json
    assert (row["id"], row["reason"]) == ("ada", "profile_sealed")
    stack.control.clear_faults()
    stack.publish(profile("ada"))
    stack.await_completed("ada", "bob")
    stack.assert_exactly_one("ada", "bob")


def test_a_profile_that_some_worker_settles_just_now_is_left(stack: Stack, commands: Commands) -> None:
    stack.control.fault("latency", match={"path": "/v1/customers", "method": "POST"}, ms=3000)
    stack.start_worker(SUBKEEPER_SECRET_KEY=LOST_KEY)
    stack.publish(profile("ada"))
    wait_until(lambda: stack.requests("POST", "/v1/customers"))
    assert commands("quarantine", "unopenable", "--yes").out == "0 profiles set aside, 0 changes failed\n"
    stack.await_completed("ada")

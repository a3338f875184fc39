"""What was heard from Stripe can be seen, and heard once more."""

from __future__ import annotations

from pathlib import Path

from tests.integration.events.test_events import of, start
from tests.support.commands import Commands
from tests.support.stack import Stack
from tests.support.waiting import wait_until


def test_events_are_listed_shown_and_replayed(stack: Stack, tmp_path: Path) -> None:
    """As after a bug: the row has lost what its event said."""
    worker = start(stack, "ada", "bob")
    subscription = of(stack, "ada")
    stack.call_stripe("POST", f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")
    told = stack.events("customer.subscription.created", "customer.subscription.updated")
    stack.hear(*told)
    stack.await_heard(*told)
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"))
    updated = stack.events("customer.subscription.updated")[0]["id"]
    command = Commands(stack, tmp_path)

    listed = command("events", "list", "--json", "--user", "ada").json
    assert {each["object_id"] for each in listed} == {subscription}
    assert {each["type"] for each in listed} == {"customer.subscription.created", "customer.subscription.updated"}
    of_type = command("events", "list", "--type", "customer.subscription.updated")
    assert [line.split("\t")[0] for line in of_type.out.splitlines()] == ["event", updated]

    shown = command("events", "show", updated, "--json")
    (found,) = shown.json
    assert found["at_stripe"]["object"]["cancel_at_period_end"] is True
    assert found["heard"]["source"] == "webhook"
    assert (found["row_now"]["user_id"], found["row_now"]["canceling"]) == ("ada", True)
    assert "ada@example.org" not in shown.out + shown.err
    lines = command.on_a_terminal("events", "show", updated).out.splitlines()
    assert [line for line in lines if len(line) > 80] == [], "no digest is broken by the terminal"

    a_day_ago = "seen_from = seen_from - interval '1 day', seen_to = seen_to - interval '1 day'"
    stack.rows(f"UPDATE billing_subscriptions SET canceling = false, version = version + 1, {a_day_ago}")
    would = command("events", "replay", updated, "--dry-run", "--json").json[0]
    assert would["stripe_event_id"] == updated
    assert (would["outcome"], would["differences"]["canceling"]) == ("applied", {"before": False, "after": True})
    assert stack.subscription_row(subscription)["canceling"] is False
    lines = command.on_a_terminal("events", "replay", updated, "--dry-run").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []

    assert command("events", "replay", updated, "--type", "invoice.paid").code == 2, "would be replayed all the same"
    for no_id in ("", "cus_1", "evt_/.."):
        wrong = command("events", "show", no_id)
        assert (wrong.code, "is not an event's id" in wrong.err) == (2, True)
    said = command("events", "replay", updated, "evt_none")
    assert said.code == 1, "not all of them"
    assert "evt_none  -  gone" in said.out
    assert "2 events: 1 published, 1 gone" in said.out.replace("1 gone, 1 published", "1 published, 1 gone")
    wait_until(lambda: stack.subscription_row(subscription)["canceling"], what="the replayed event is applied")
    rows = stack.rows("SELECT source, outcome FROM processed_stripe_events WHERE stripe_event_id = %s", updated)
    assert rows == [{"source": "replay", "outcome": "applied"}]
    worker.stop()


def test_what_nsqd_did_not_take_is_named_to_be_replayed_again(stack: Stack, tmp_path: Path) -> None:
    start(stack, "ada").stop()
    event = stack.events("customer.subscription.created")[0]
    command = Commands(stack, tmp_path)
    command.environ |= {"SUBKEEPER_NSQ__NSQD_TCP_ADDRESSES": "127.0.0.1:1", "SUBKEEPER_NSQ__NSQD_HTTP_ADDRESSES": ""}
    said = command("events", "replay", event["id"])
    assert said.code == 1
    assert f"until they are replayed: {event['id']}" in said.err

"""Why a row is what it is can be read off one timeline."""

from __future__ import annotations

from pathlib import Path

from click import unstyle

from tests.integration.events.test_events import later, of, start
from tests.support.commands import Commands
from tests.support.stack import Stack
from tests.support.waiting import wait_until


def test_a_users_timeline_has_what_was_asked_what_was_heard_and_what_changed(stack: Stack, tmp_path: Path) -> None:
    worker = start(stack, "ada", "bob")
    subscription, customer = of(stack, "ada"), str(stack.customers("ada")[0]["id"])
    stack.call_stripe("POST", f"/v1/subscriptions/{subscription}", cancel_at_period_end="true")
    events = [*stack.events("customer.created"), later(stack, stack.events("customer.subscription.updated")[0])]
    stack.hear(*events)
    stack.await_heard(*events)
    wait_until(lambda: stack.is_drained(stack.events_topic))
    worker.stop()
    stack.rows(
        "INSERT INTO subscription_refreshes (stripe_subscription_id, last_error) VALUES (%s, 'why')", subscription
    )
    # Requests are dated by another clock than the row, and a second may begin between the two.
    before, after = "date_trunc('second', first_seen_at) - interval '1 ms'", "completed_at + interval '1 second'"
    stack.rows(
        f"UPDATE provisionings SET customer_requested_at = {before}, customer_last_requested_at = {before},"
        f" subscription_requested_at = {after}, subscription_last_requested_at = {after}"
    )
    command = Commands(stack, tmp_path)

    told = command("explain", "ada", "--json").json
    ledger = ["message absorbed", "customer asked for", "subscription asked for", "completed"]
    assert [each["what"] for each in told if each["what"] in ledger] == ledger
    by_what = {each["what"]: each for each in told}
    assert by_what["message absorbed"]["plan"] == "pending"
    assert by_what["customer asked for"]["about"] == customer
    (key,) = by_what["subscription asked for"]["idempotency_keys"]
    assert key in {each["idempotency_key"] for each in stack.requests("POST", "/v1/subscriptions")}
    heard = by_what["customer.subscription.updated"]
    assert (heard["about"], heard["outcome"], heard["source"]) == (subscription, "applied", "webhook")
    assert by_what["customer.created"]["about"] == customer
    changes = [each for each in told if each["what"] == "changed"]
    assert [each["version"] for each in changes] == [1, 2]
    assert (changes[1]["cause"], changes[1]["changed"]["canceling"]) == ("customer.subscription.updated", True)
    assert by_what["to be fetched"]["last_error"] == "why"

    for_people = command("explain", "ada")
    assert for_people.out.splitlines()[0] == "time\twhat\tabout\tdetail"
    assert "ada@example.org" not in for_people.out
    lines = unstyle(command.on_a_terminal("explain", "ada").out).splitlines()
    assert [line.split("  ")[1] for line in lines if not line.startswith(" ")] == [each["what"] for each in told]
    assert all(len(line) <= 80 for line in lines)
    assert key in {line.strip() for line in lines}
    unknown = command("explain", "nobody")
    assert (unknown.code, unknown.err) == (1, "subkeeper: no user 'nobody' in our tables\n")
    assert command("events", "list", "--user", "nobody").err == unknown.err

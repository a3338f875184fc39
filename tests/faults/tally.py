"""What was published, held against what there is in the end, the way Jepsen's total-queue checker counts.

Nothing is taken from the workers' own word: Stripe's objects by `metadata.user_id`, and every table.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support.stack import ENDED, Stack
from tests.support.waiting import BUSY


class Tally(NamedTuple):
    """Users, in order: each list is to be empty.

    lost: published, and not in the state it was to end in, or without what belongs to it. duplicated: has more than one
    of anything. unexpected: has what nobody published, or ended in another state.
    """

    lost: list[str]
    duplicated: list[str]
    unexpected: list[str]


EXACT = Tally([], [], [])
SOMEBODY_ELSE = "somebody else's customer"


def tally(stack: Stack, expected: Mapping[str, str], *, with_ended: bool = False) -> Tally:
    """`expected` says in which state of the ledger each published user is to end: completed or quarantined.
    `with_ended`: subscriptions that have ended count, too, where users have led lives that may end them."""
    state = stack.control.state()
    customers = {
        row["id"]: row["metadata"].get("user_id", "?")
        for row in state["customers"]
        if row["name"] != SOMEBODY_ELSE  # whom a scenario made itself
    }
    counted = [row for row in state["subscriptions"] if with_ended or row["status"] not in ENDED]
    subscriptions = {row["id"]: customers[row["customer"]] for row in counted if row["customer"] in customers}
    ledger = {row["user_id"]: row for row in stack.rows("SELECT * FROM provisionings")}
    accounts = stack.rows(
        "SELECT c.user_id, c.stripe_customer_id, s.stripe_subscription_id FROM billing_customers c"
        " LEFT JOIN billing_subscriptions s ON s.billing_customer_id = c.id WHERE c.deleted_at IS NULL"
    )
    changes = stack.rows("SELECT user_id FROM subscription_changes WHERE before IS NULL")
    removed = {row["stripe_subscription_id"] for row in stack.rows("SELECT * FROM subscription_tombstones")}
    counts = [
        Counter(customers.values()),
        Counter(subscriptions.values()),
        Counter(row["user_id"] for row in accounts),
        Counter(row["user_id"] for row in changes),
    ]
    has = {(row["user_id"], row["stripe_customer_id"], row["stripe_subscription_id"]) for row in accounts}
    lost = [
        user
        for user, wanted in expected.items()
        if user not in ledger
        or (wanted == "completed" and not _is_whole(user, ledger[user], customers, subscriptions, has, removed))
    ]
    unexpected = {user for count in counts for user in count if expected.get(user) is None} | {
        user for user, row in ledger.items() if expected.get(user) != row["state"]
    }
    duplicated = {user for count in counts for user, number in count.items() if number > 1}
    return Tally(sorted(lost), sorted(duplicated), sorted(unexpected))


def await_states(stack: Stack, expected: Mapping[str, str], timeout: float, refused: int = 0) -> float:
    """Waits until every user's row is in the state it is to end in, so many messages lie in quarantine, and no other is
    left. Returns the seconds it took; fails with what differs."""
    began = time.monotonic()
    while (differing := _differing(stack, expected, refused)) and time.monotonic() - began < timeout * BUSY:
        time.sleep(0.05)
    assert not differing, f"not within {timeout:g} s: {differing}"
    took = time.monotonic() - began
    print(f"recovered in {took:.2f} s")  # noqa: T201 - pytest -s shows it, and so does a failure
    return took


def _differing(stack: Stack, expected: Mapping[str, str], refused: int) -> dict[str, object]:
    """What isn't as it is to be in the end: users (state, attempts, last error), messages in quarantine, topics."""
    rows = {row["user_id"]: row for row in stack.rows("SELECT user_id, state, attempts, last_error FROM provisionings")}
    differing: dict[str, object] = {
        user: (rows[user]["state"], rows[user]["attempts"], rows[user]["last_error"]) if user in rows else None
        for user in {**expected, **rows}
        if user not in rows or rows[user]["state"] != expected.get(user)
    }
    kept = stack.rows("SELECT count(*) AS n FROM quarantined_messages")[0]["n"]
    if kept != refused:
        differing["messages in quarantine"] = kept
    for topic in (stack.topic, stack.backfill_topic):
        if not differing and not stack.is_drained(topic):
            differing[topic] = stack.nsqd.channel(topic, "subkeeper")
    return differing


def _is_whole(
    user: str,
    row: Mapping[str, Any],
    customers: Mapping[str, str],
    subscriptions: Mapping[str, str],
    has: set[Any],
    removed: set[str],
) -> bool:
    """With one subscription, or with none where that was removed."""
    customer, subscription = row["stripe_customer_id"], row["stripe_subscription_id"]
    if subscription in removed:
        return customers.get(customer) == user and subscription not in subscriptions and (user, customer, None) in has
    at_stripe = customers.get(customer) == subscriptions.get(subscription) == user
    return at_stripe and (user, customer, subscription) in has and row["customer_request"] is None

"""What other services have been told of the rows, held against the rows."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.support.stack import Stack
from worker.broker.reader import Reader

ROWS = """
    SELECT stripe_subscription_id AS id, version,
        CAST(replace(CAST(to_jsonb(s) AS text), '+00:00"', 'Z"') AS jsonb) || jsonb_build_object(
            'payable', coalesce(default_payment_method, customer_default_payment_method) IS NOT NULL) AS columns
    FROM billing_subscriptions s
"""
"""Times as changes have them."""


def untold(stack: Stack) -> list[str]:
    """Rows of which the outbox doesn't have every version from the first to the last, once each, and as sent."""
    told = stack.rows("""
        SELECT stripe_subscription_id AS id, array_agg(version ORDER BY version) AS versions,
            bool_and(sent_at IS NOT NULL) AS sent
        FROM subscription_changes GROUP BY 1
    """)
    found = {each["id"]: (each["versions"], each["sent"]) for each in told}
    rows = {row["id"]: (list(range(1, row["version"] + 1)), True) for row in stack.rows(ROWS)}
    return sorted(each for each in found.keys() | rows.keys() if found.get(each) != rows.get(each))


def misheard(stack: Stack, channel: str) -> list[str]:
    """Rows that differ from what a reader has that takes all that the channel holds, and keeps the highest version."""
    kept: dict[str, dict[str, Any]] = {}
    for change in _all(stack, channel):
        known = kept.get(change["subscription"])
        if known is None or change["version"] > known["version"]:
            kept[change["subscription"]] = change
    return sorted(row["id"] for row in stack.rows(ROWS) if not _says(kept.get(row["id"]), row))


def _says(change: dict[str, Any] | None, row: dict[str, Any]) -> bool:
    if change is None or change["version"] != row["version"]:
        return False
    after: dict[str, Any] = change["after"]
    return after == {name: row["columns"][name] for name in after}


def _all(stack: Stack, channel: str) -> list[dict[str, Any]]:
    settings = stack.settings(SUBKEEPER_NSQ__CHANNEL=channel).nsq
    found = []
    reader = Reader(settings, {stack.changes_topic: 1}, rng=random.Random(0))
    while not stack.is_drained(stack.changes_topic, channel):
        batch = reader.read(500, 0.2)
        found += [json.loads(message.body) for message in batch]
        reader.finish(batch)
    reader.close(1.0)
    return found

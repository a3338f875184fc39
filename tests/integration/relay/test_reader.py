"""The reader of docs/changes.md, as it stands there."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from itertools import permutations
from pathlib import Path

from tests.integration.relay.conftest import add_changes
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.domain.change import Change

PAGE = (Path(__file__).parents[3] / "docs" / "changes.md").read_text()


def kept(file: Path) -> dict[str, tuple[int, object]]:
    """What the reader has: version and state, by subscription."""
    with sqlite3.connect(file, timeout=10) as db:
        found = db.execute("SELECT name FROM sqlite_master WHERE name = 'subscriptions'").fetchall()
        rows = db.execute("SELECT id, version, state FROM subscriptions").fetchall() if found else []
    return {subscription: (version, json.loads(state)) for subscription, version, state in rows}


def test_it_keeps_the_newest_state_whatever_is_repeated_late_or_removed(stack: Stack, tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 25
    (tmp_path / "reader.py").write_text(program.replace("subscription_changed", stack.changes_topic))
    stack.nsqd.create_channel(stack.changes_topic, "my_service")
    add_changes(stack, 1)  # sub_1 in version 1, by the relay
    orders = list(permutations([(2, {"plan": "other"}), (3, {"plan": "other"}), (3, None)]))
    for number, order in enumerate(orders):
        for version, after in (*order, order[0]):
            columns = None if after is None else json.dumps(after)
            change = Change(9, "ada", f"sub_order_{number}", version, "{}", columns, "updated")
            stack.nsqd.publish(stack.changes_topic, change.body())
    stack.start_worker("relay")
    file = tmp_path / "subscriptions.db"
    command = [sys.executable, "reader.py", stack.nsqd.tcp_address, file.name]
    with subprocess.Popen(command, cwd=tmp_path) as reader:
        try:
            wait_until(lambda: not stack.nsqd.channel(stack.changes_topic, "my_service")["depth"], what="it reads")
            expected = {f"sub_order_{number}": (3, None) for number in range(len(orders))}
            wait_until(lambda: kept(file) == {**expected, "sub_1": (1, {"plan": "pending"})})
            wait_until(lambda: not stack.nsqd.channel(stack.changes_topic, "my_service")["in_flight_count"])
        finally:
            reader.kill()

"""`subkeeper demo`, as a new user runs it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from sandbox.demo.show import sample
from worker.store.overview import Account


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker", "demo", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=110, env={**os.environ, **environment}, check=False
    )


def counted(*arguments: str, **environment: str) -> dict[str, Any]:
    done = demo("--json", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def test_the_demo_shows_each_profile_with_one_of_each() -> None:
    verdict = counted("--profiles", "25", "--pace", "50")
    assert (verdict["profiles"], verdict["customers"], verdict["subscriptions"]) == (25, 25, 25)
    assert (verdict["duplicates"], verdict["missing"]) == (0, 0)
    assert verdict["overhead_ms"]["p50"] < verdict["publish_to_persisted_ms"]["p50"]


def test_the_demo_comes_out_right_on_a_bad_day(seed: int) -> None:
    verdict = counted("--chaos", "--profiles", "25", "--seed", str(seed))
    assert (verdict["profiles"], verdict["customers"], verdict["subscriptions"]) == (25, 25, 25)
    assert (verdict["duplicates"], verdict["missing"], verdict["seed"]) == (0, 0, seed)


def test_the_demo_shows_a_table_and_never_uses_the_user_s_own_key() -> None:
    done = demo("--profiles", "5", STRIPE_SECRET_KEY="sk_live_of_the_user", SUBKEEPER_NAMESPACE="of-the-user")
    assert done.returncode == 0, done.stderr
    for word in ("user-000005", "trialing", "Nothing missing, nothing double."):
        assert word in done.stdout


@pytest.mark.parametrize("columns", [46, 60, 80, 100])
def test_the_sample_breaks_no_id_however_narrow_the_terminal_is(columns: int) -> None:
    customer, subscription = "cus_NDuM3tEr9oNsbH", "sub_1W9qqSi9ZLJj4qAhl0ObTS2B"
    account = Account(
        "user-000001", "completed", customer, subscription, "pending", "trialing", *[datetime.now(UTC)] * 2
    )
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(sample([account, replace(account, user_id="user-000002")], console.width))
    lines = console.export_text().splitlines()
    for whole in ("user-000001", "user-000002"):
        assert sum(whole in line for line in lines) == 1
    for whole in (customer, subscription):
        assert sum(whole in line for line in lines) == 2
    if columns >= 80:
        assert sum("trialing" in line for line in lines) == 2
        assert sum("2026" in line or f"{datetime.now(UTC).year}" in line for line in lines) == 2

"""`subkeeper demo`, as a new user runs it."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import psutil
import pytest
from rich.console import Console

from sandbox.demo.view import sample
from sandbox.processes import is_alive
from tests.support.browser import Browser
from tests.support.waiting import wait_until
from worker.store.overview import Account

DEMO = [sys.executable, "-m", "worker", "demo"]


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, timeout=200, env={**os.environ, **environment}, check=False
    )


def test_the_demo_shows_each_profile_with_one_of_each_and_each_row_as_stripe_has_it() -> None:
    """Whatever key the user has of their own."""
    own = {"STRIPE_SECRET_KEY": "sk_live_of_the_user", "SUBKEEPER_NAMESPACE": "of-the-user"}
    done = demo("--json", "--profiles", "20", "--pace", "50", **own)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["profiles"], verdict["customers"], verdict["subscriptions"]) == (20, 20, 20)
    assert (verdict["duplicates"], verdict["missing"], verdict["drift"]) == (0, 0, 0)
    assert verdict["overhead_ms"]["p50"] < verdict["publish_to_persisted_ms"]["p50"]
    heard = verdict["events"]
    assert heard["received"] > heard["duplicates"] > 0
    assert heard["refreshed"] > 0
    assert heard["applied"] > 0
    assert verdict["changes"] > 60, "of each, that it is there, that its trial ends, and how it goes on"
    last = [line.split() for line in done.stderr.splitlines() if "by polls" in line]
    assert [row[:6] for row in last] == [["64", "0", "12", "0", "2", "6"]], done.stderr


def test_the_demo_comes_out_right_on_a_bad_day(seed: int) -> None:
    done = demo("--chaos", "--profiles", "12", "--seed", str(seed))
    assert done.returncode == 0, done.stdout + done.stderr
    for told in ("user-000001", f"Nothing missing, nothing double, every row as Stripe has it. Seed {seed}."):
        assert told in done.stdout


def test_a_ctrl_c_ends_the_demo_and_leaves_nothing() -> None:
    with subprocess.Popen([*DEMO, "--pace", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            me = psutil.Process(process.pid)
            wait_until(lambda: any(map(_is_worker, me.children(recursive=True))), 40, "a worker")
            members = me.children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 130
            assert not any(map(is_alive, members))
        finally:
            process.kill()


def test_the_demo_stays_open_with_pages_to_click_through_and_ends_by_ctrl_c() -> None:
    """Somebody who is active is given other plans by the API, and cancels in the portal; our row follows."""
    asked = [*DEMO, "--open", "--json", "--profiles", "20", "--pace", "50"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            told: list[str] = []
            assert process.stdout is not None
            for line in process.stdout:
                told.append(line.strip())
                if line.startswith("Ctrl-C"):
                    break
            (words,) = (line for line in told if line.endswith("cancels, changes plan, changes cards:"))
            user, place = words.split()[0], told.index(words)
            portal, command = told[place + 1], shlex.split(told[place + 2])
            assert sum("/c/pay/" in line for line in told) == 2
            assert (command[-1], "canceling: yes" in _said(command)) == (user, False)
            api = dict(line.split("=") for line in told if re.match(r"(API|ADMIN_TOKEN)=", line))
            for plan in ("pending", "pro"):
                assert _chosen(api["API"], api["ADMIN_TOKEN"], user, plan) == (200, plan)
            browser = Browser().open(portal).follow("Cancel subscription").press("Cancel subscription")
            assert "Don't cancel" in browser.buttons
            wait_until(lambda: "canceling: yes" in _said(command), 20, "the row follows")
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 0
        finally:
            process.kill()


def _chosen(api: str, token: str, user: str, plan: str) -> tuple[int, str]:
    """The answer's status, and the plan that it tells."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"plan": plan}).encode()
    asked = urllib.request.Request(f"{api}/subscriptions/{user}", body, headers, method="PATCH")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.status, json.load(answer)["plan"]


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it may have just ended
        return "run" in process.cmdline()
    return False


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

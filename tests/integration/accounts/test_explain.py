"""`subkeeper explain` tells what was asked for, by whom, and what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Accounts
from tests.support.commands import Commands
from tests.support.waiting import wait_until
from worker.web.api import app


def test_changes_that_were_asked_for_are_told_with_their_steps_and_never_the_email(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.3)
    assert accounts.change("ann", {"email": "ann@new.example", "plan": "pro"}).status in {200, 202}
    wait_until(lambda: accounts.rows()[0]["state"] == "applied")
    assert accounts.change("ann", {"stripe_source": "pm_card_chargeDeclined"}).status in {202, 402}
    wait_until(lambda: accounts.rows()[1]["state"] == "failed")
    accounts.stack.control.fault("status", match={"method": "POST"}, status=503)
    assert accounts.change("ann", {"email": "ann@newer.example"}).status == 202
    later = "UPDATE account_changes SET due_at = now() + interval '1 hour' WHERE last_error IS NOT NULL RETURNING 1"
    wait_until(lambda: accounts.stack.rows(later))  # it isn't tried again while it is told

    command = Commands(accounts.stack, tmp_path)
    told = [each for each in command("explain", "ann", "--json").json if each["what"].startswith("change ")]
    asked = [each for each in told if each["what"] == "change asked for"]
    assert [(each["caller"], each["kind"], each["steps"]) for each in asked] == [
        ("user ann", "update", ["email", "plan"]),
        ("user ann", "update", ["attach", "default", "own_default"]),
        ("user ann", "update", ["email"]),
    ]
    by_what = {each["what"]: each for each in told}
    assert by_what["change applied"]["steps"] == ["email", "plan"]
    assert (by_what["change failed"]["steps"], by_what["change failed"]["reason"]) == ([], "card_declined")
    due = by_what["change due"]
    assert (due["change"], due["step"]) == (asked[2]["change"], "email")
    assert due["last_error"]
    assert "example" not in command("explain", "ann").out

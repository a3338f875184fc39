"""`subkeeper explain` tells what was asked for, by whom, and what came of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.accounts.conftest import Accounts, signed_up
from tests.integration.accounts.test_owners import customer, give, metadata, subscribe
from tests.support.commands import Commands
from tests.support.waiting import wait_until
from worker.runtime.explaining import explain, is_known
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


def test_on_a_customer_that_several_own_each_is_told_their_own(accounts: Accounts) -> None:
    """What was heard of it, what is to be fetched, and which cards its invoice was tried with."""
    stack = accounts.stack
    give(accounts, "payer", user_id="bob")
    anns, bobs = (subscribe(accounts, **metadata(accounts, who)) for who in ("ann", "bob"))
    tried = "INSERT INTO charge_tries (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id,"
    for made, invoice in ((anns, "in_ann"), (bobs, "in_bob")):
        stack.rows(
            "UPDATE billing_subscriptions SET charge_invoice = %s, charge_invoice_created = now()"
            " WHERE stripe_subscription_id = %s",
            invoice, made,
        )  # fmt: skip
        stack.rows(
            "INSERT INTO subscription_refreshes (stripe_subscription_id, due_at) VALUES (%s, now() + '1 h')", made
        )
        stack.rows(
            f"{tried} is_ours, outcome, ended_at) VALUES (%s, 1, 'pm_1', %s, true, 'paid', now())",
            invoice,
            customer(accounts),
        )
        stack.rows(
            f"{tried} stripe_subscription_id, is_ours, outcome, ended_at)"
            " VALUES (%s, 1, 'pm_1', %s, %s, true, 'paid', now())",
            f"{invoice}_before", customer(accounts), made,
        )  # fmt: skip
    theirs = {"ann": {anns, "in_ann", "in_ann_before"}, "bob": {bobs, "in_bob", "in_bob_before"}}
    for who, others in (("ann", theirs["bob"]), ("bob", theirs["ann"])):
        own = theirs[who]
        told = explain(stack.settings(), who, timedelta(days=1))
        about = {(each.what, each.about) for each in told}
        assert {each for _, each in about} & (own | others) == own
        assert {"customer.subscription.created", "to be fetched", "charge tried", "changed"} <= {
            what for what, each in about if each in own
        }


def test_whoever_has_anything_here_is_known(accounts: Accounts) -> None:
    stack = accounts.stack
    signed_up(stack, "cora")
    stack.rows("DELETE FROM provisionings WHERE user_id = 'cora'")
    give(accounts, "member", user_id="bob")
    stack.rows(
        "INSERT INTO account_changes (id, kind, user_id, caller, digest, steps, wanted) VALUES"
        " (gen_random_uuid(), 'erase', 'dora', 'admin', '', '{settled}', '{}')"
    )
    known = {who: is_known(stack.settings(), who) for who in ("ann", "bob", "cora", "dora", "eve")}
    assert known == {"ann": True, "bob": True, "cora": True, "dora": True, "eve": False}

"""A change that only a newer release can make, while both work side by side: it is told as far as it is known here."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, token_of
from tests.integration.accounts.test_unopenable import sealed_for_nobody
from tests.integration.web.callers import ask
from tests.support.commands import Commands


def taken_in_by_it(accounts: Accounts, kind: str, steps: str, key: str | None = None) -> UUID:
    """ann's change, as that release has taken it in, whose schema has kinds of its own."""
    change_id = uuid4()
    accounts.stack.rows("ALTER TABLE account_changes DROP CONSTRAINT account_changes_kind_check")
    accounts.stack.rows(
        """
        INSERT INTO account_changes
            (id, kind, user_id, caller, idempotency_key, digest, steps, wanted, stripe_subscription_id,
             stripe_customer_id)
        VALUES (%s, %s, 'ann', 'user ann', %s, '', %s, '{}', %s, %s)
        """,
        change_id, kind, key, steps, accounts.id_of("ann"), accounts.customer("ann")["id"],
    )  # fmt: skip
    return change_id


OF_ITS_OWN = [("update", "{plan,coupon}"), ("transfer", "{plan}"), ("transfer", "{hand}")]


@pytest.mark.parametrize(("kind", "steps"), OF_ITS_OWN)
def test_it_is_told_while_it_waits_and_once_that_release_has_ended_it(
    accounts: Accounts, kind: str, steps: str
) -> None:
    change_id = taken_in_by_it(accounts, kind, steps)
    for token in (token_of("ann"), ADMIN.token):
        told = ask(accounts, f"/account-changes/{change_id}", token)
        assert (told.status, told.body["kind"], told.body["state"]) == (200, kind, "pending")
    result = '{"error": {"code": "no_heir", "detail": "there is nobody", "errors": []}, "applied": ["plan"]}'
    accounts.stack.rows(
        "UPDATE account_changes SET state = 'failed', ended_at = now(), result = %s WHERE id = %s", result, change_id
    )
    told = ask(accounts, f"/account-changes/{change_id}", token_of("ann"))
    assert (told.body["state"], told.body["applied"]) == ("failed", ["plan"])
    assert (told.body["problem"]["code"], told.body["problem"]["status"]) == ("no_heir", 409)


def test_a_key_that_it_was_asked_under_is_refused_as_used(accounts: Accounts) -> None:
    taken_in_by_it(accounts, "transfer", "{hand}", key="one")
    told = accounts.change("ann", {"plan": "pro"}, **{"Idempotency-Key": "one"})
    assert (told.status, told.body["code"]) == (422, "key_reused")


def test_one_that_is_sealed_under_a_lost_key_is_left_to_that_release(accounts: Accounts, tmp_path: Path) -> None:
    """What of it holds is told with its end, and only that release can tell."""
    newer = sealed_for_nobody(accounts, "{plan,coupon}")
    ours = sealed_for_nobody(accounts)
    run = Commands(accounts.stack, tmp_path)
    assert run("quarantine", "unopenable", "--yes").out == "0 profiles set aside, 1 change failed\n"
    assert {str(each["id"]): each["state"] for each in accounts.rows()} == {newer: "pending", ours: "failed"}

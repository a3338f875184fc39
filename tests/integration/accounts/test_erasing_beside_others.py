"""What others do while a user is erased neither leaves something of theirs at Stripe, nor brings it back here."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from tests.integration.accounts.conftest import ADMIN, Accounts, signed_up
from tests.integration.accounts.test_erasing import erase, gone, impatient, is_erased, shared, told
from tests.integration.accounts.test_owners import give, metadata, row, subscribe, take_away
from tests.integration.web.callers import ask
from tests.support.commands import Commands
from tests.support.stack import Stack
from tests.support.waiting import wait_until
from worker.accounts.asking import Asking
from worker.accounts.erasure_rows import ErasureRows
from worker.domain.account_changes import ChangeRefused, Kind
from worker.domain.accounts import SubscriptionChange
from worker.domain.provisioning import user_digest
from worker.runtime import accounts as watching
from worker.runtime.changing import open_changing
from worker.store.told_changes import ToldChange
from worker.stripe_api.gateway import StripeGateway
from worker.stripe_api.showing import Showing

__all__ = ["impatient"]


def is_deleted(accounts: Accounts, customer: str) -> bool:
    return bool(accounts.stack.call_stripe("GET", f"/v1/customers/{customer}").get("deleted"))


def test_a_customer_that_is_nobody_elses_at_last_is_deleted(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owned it, too, has left it after it was spared at Stripe and before the rest was erased here."""
    customer, forget = shared(accounts.stack), ErasureRows.forget_pages

    def leave_first(rows: ErasureRows, user_id: str) -> None:
        take_away(accounts, user_id="bob")
        forget(rows, user_id)

    monkeypatch.setattr(ErasureRows, "forget_pages", leave_first)
    assert erase(accounts).status in {200, 202}
    wait_until(lambda: is_erased(accounts), 60)
    assert is_deleted(accounts, customer)
    gone(accounts.stack)


def test_of_two_owners_who_are_erased_at_once_the_last_one_takes_the_customer_along(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, forget = accounts.stack, ErasureRows.forget_pages
    signed_up(stack, "bob")
    customer = shared(stack)

    def erase_the_other_first(rows: ErasureRows, user_id: str) -> None:
        if user_id == "ann":
            assert erase(accounts, "bob").status == 200
        forget(rows, user_id)

    monkeypatch.setattr(ErasureRows, "forget_pages", erase_the_other_first)
    assert erase(accounts).status in {200, 202}
    wait_until(lambda: is_erased(accounts), 60)
    assert is_deleted(accounts, customer)
    for user in ("ann", "bob"):
        gone(stack, user)


def is_being_charged(accounts: Accounts, customer: str, invoice: str, subscription: str | None) -> None:
    """A try of that invoice on the customer has no answer, and its subscription's row tells of it."""
    tried = "INSERT INTO charge_tries (stripe_invoice_id, attempt_count, stripe_payment_method_id, stripe_customer_id,"
    accounts.stack.rows(f"{tried} is_ours) VALUES (%s, 1, 'pm_1', %s, true)", invoice, customer)
    told_of = "UPDATE billing_subscriptions SET charge_invoice = %s WHERE stripe_subscription_id = %s"
    accounts.stack.rows(told_of, invoice, subscription)


def is_late(accounts: Accounts, subscription: str) -> None:
    """The invoice that is tried is an older one: the subscription's row tells of another by now, and the try itself of
    its subscription."""
    accounts.stack.rows("UPDATE charge_tries SET stripe_subscription_id = %s", subscription)
    accounts.stack.rows("UPDATE billing_subscriptions SET charge_invoice = 'in_9'")


def answered(accounts: Accounts) -> None:
    accounts.stack.rows("UPDATE charge_tries SET outcome = 'declined', ended_at = now()")
    accounts.stack.rows("UPDATE account_changes SET due_at = now() WHERE state = 'pending'")


@pytest.mark.parametrize(("whose", "late"), [("bob", False), ("bob", True), ("p", False), ("p", True)])
def test_a_charge_of_anothers_subscription_holds_up_nobody(accounts: Accounts, whose: str, late: bool) -> None:
    """Be it of its latest invoice, or of an older one."""
    customer = shared(accounts.stack)
    give(accounts, "member", project_id="p")
    made = subscribe(accounts, **metadata(accounts, whose))
    is_being_charged(accounts, customer, "in_1", made)
    if late:
        is_late(accounts, made)
    assert erase(accounts).status in {200, 202}
    wait_until(lambda: is_erased(accounts), 60)
    assert accounts.stack.rows("SELECT outcome FROM charge_tries") == [{"outcome": None}]


@pytest.mark.parametrize(("whose", "late"), [("ann", False), ("ann", True), (None, False)])
def test_a_charge_on_a_shared_customer_of_what_may_be_the_users_is_waited_for(
    accounts: Accounts, impatient: None, whose: str | None, late: bool
) -> None:
    """The user's own, or of no row that is there."""
    customer = shared(accounts.stack)
    subscribe(accounts, **metadata(accounts, "bob"))
    is_being_charged(accounts, customer, "in_1", accounts.id_of("ann") if whose else None)
    if late:
        is_late(accounts, accounts.id_of("ann"))
    assert erase(accounts).status == 202
    wait_until(lambda: told(accounts).body["waits_for"] == "charge_under_way")
    assert accounts.at_stripe("ann")["status"] == "trialing"
    answered(accounts)
    wait_until(lambda: is_erased(accounts), 60)


def test_who_leaves_the_customer_while_something_of_theirs_is_charged_has_it_deleted_after_that(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    customer, forget = shared(accounts.stack), ErasureRows.forget_pages
    made = subscribe(accounts, **metadata(accounts, "bob"))
    is_being_charged(accounts, customer, "in_1", made)

    def leave_first(rows: ErasureRows, user_id: str) -> None:
        accounts.stack.call_stripe("DELETE", f"/v1/subscriptions/{made}")
        accounts.stack.rows("UPDATE billing_subscriptions SET stripe_subscription_status = 'canceled'")
        assert take_away(accounts, user_id="bob").status == 204
        forget(rows, user_id)

    monkeypatch.setattr(ErasureRows, "forget_pages", leave_first)
    assert erase(accounts).status == 202
    wait_until(lambda: told(accounts).body["waits_for"] == "charge_under_way")
    assert not is_deleted(accounts, customer)
    monkeypatch.setattr(ErasureRows, "forget_pages", forget)
    answered(accounts)
    wait_until(lambda: is_erased(accounts), 60)
    assert is_deleted(accounts, customer)


def test_a_subscription_on_anothers_customer_ends_and_its_row_goes(accounts: Accounts) -> None:
    """It is known by its row, too, where nothing at Stripe names the user any more."""
    stack = accounts.stack
    shared(stack)
    made = subscribe(accounts, **metadata(accounts, "bob"))
    assert row(accounts, made) == {"owner_user_id": "bob", "owner_project_id": None}
    stack.call_stripe("POST", f"/v1/subscriptions/{made}", **{"metadata[subkeeper]": "", "metadata[user_id]": ""})
    assert erase(accounts, "bob").status == 200
    assert stack.call_stripe("GET", f"/v1/subscriptions/{made}")["status"] == "canceled"
    assert row(accounts, made) is None
    (buried,) = stack.rows("SELECT stripe_subscription_id, user_id FROM subscription_tombstones")
    assert buried == {"stripe_subscription_id": made, "user_id": "bob"}
    assert (accounts.read("ann").status, accounts.at_stripe("ann")["status"]) == (200, "trialing")
    gone(stack, "bob")


def test_somebody_elses_subscription_that_names_the_user_by_now_stays_theirs(accounts: Accounts) -> None:
    """Whose it is, its row says; of its metadata the user's id goes."""
    stack = accounts.stack
    shared(stack)
    made, lost = (subscribe(accounts, **metadata(accounts, who)) for who in ("bob", "ann"))
    stack.rows("DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s", lost)
    stack.call_stripe("POST", f"/v1/subscriptions/{made}", **metadata(accounts, "ann"))
    assert erase(accounts).status == 200
    found = {each: stack.call_stripe("GET", f"/v1/subscriptions/{each}") for each in (made, lost)}
    assert [(each["status"], each["metadata"]) for each in found.values()] == [("trialing", {}), ("canceled", {})]
    assert row(accounts, made) == {"owner_user_id": "bob", "owner_project_id": None}


def test_asked_for_once_more_what_was_spared_then_goes_too(accounts: Accounts) -> None:
    """The others have left the customer since, or Search has found what it didn't know of; when it was stays."""
    stack = accounts.stack
    customer = shared(stack)
    first = erase(accounts)
    assert (first.status, is_deleted(accounts, customer)) == (200, False)
    assert take_away(accounts, to=customer, user_id="bob").status == 204
    lost = stack.call_stripe("POST", "/v1/customers", **{"metadata[subkeeper]": user_digest("subkeeper", "ann")})["id"]
    assert erase(accounts).status == 200
    wait_until(lambda: {each["state"] for each in accounts.rows()} == {"applied"})
    assert is_deleted(accounts, customer)
    assert is_deleted(accounts, lost)
    assert erase(accounts).body == told(accounts).body == first.body
    gone(stack)


def test_a_customer_that_stripe_never_had_is_nobodys_here_either(accounts: Accounts) -> None:
    """Of another account, or of test data that was deleted."""
    stack = accounts.stack
    stack.rows("UPDATE billing_customers SET stripe_customer_id = 'cus_never'")
    stack.rows("UPDATE provisionings SET stripe_customer_id = 'cus_never'")
    assert erase(accounts).status == 200
    gone(stack)


def held(monkeypatch: pytest.MonkeyPatch, whose: type, name: str) -> tuple[Event, Event]:
    """The first answer of Stripe's to this call is held back: set once it is there, and to be set for it to be told."""
    ask_stripe = getattr(whose, name)
    there, told = Event(), Event()

    def ask_slowly(*arguments: Any, **named: Any) -> Any:
        answer = ask_stripe(*arguments, **named)
        if not there.is_set():
            there.set()
            assert told.wait(60)
        return answer

    monkeypatch.setattr(whose, name, ask_slowly)
    return there, told


def test_cards_that_were_being_shown_are_not_taken_in_again(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accounts.change("ann", {"stripe_source": "pm_card_visa"}).status == 200
    there, told = held(monkeypatch, Showing, "payment_methods")
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(ask, accounts, "/billing/payment-methods?user_id=ann", ADMIN.token)
        assert there.wait(60)
        assert erase(accounts).status == 200
        told.set()
        assert (shown.result().status, shown.result().body["code"]) == (404, "no_customer")
    gone(accounts.stack)


def test_a_default_card_that_was_being_fetched_is_not_taken_in_again(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a fetch of a subscription that was made elsewhere, whose answer comes after the end."""
    stack, customer = accounts.stack, accounts.customer("ann")["id"]
    assert accounts.change("ann", {"stripe_source": "pm_card_visa"}).status == 200
    there, told = held(monkeypatch, StripeGateway, "subscription")
    form = {"customer": customer, "items[0][price]": stack.price()["id"], "trial_period_days": "3"}
    made = stack.call_stripe("POST", "/v1/subscriptions", **form)["id"]
    long_ago = "now() - interval '1 h'"
    stack.rows(f"UPDATE billing_customers SET default_seen_from = {long_ago}, default_seen_to = {long_ago}")
    stack.rows("DELETE FROM subscription_refreshes")
    stack.rows("INSERT INTO subscription_refreshes (stripe_subscription_id) VALUES (%s)", made)
    wait_until(stack.start_worker("events").is_ready)
    assert there.wait(60)
    assert erase(accounts).status == 200
    told.set()
    wait_until(lambda: not stack.rows("SELECT 1 FROM subscription_refreshes"), 60)
    gone(stack)


def test_what_waits_for_earlier_changes_says_so_everywhere(
    accounts: Accounts, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = accounts.stack
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(watching, "ERASED_WITHIN", timedelta(0))
    path = f"/v1/subscriptions/{accounts.id_of('ann')}"
    stack.control.fault("status", match={"path": path, "method": "POST"}, status=503)
    assert accounts.change("ann", {"plan": "pro"}).status == 202
    assert erase(accounts).status == 202
    assert told(accounts).body["waits_for"] == "earlier_changes"
    wait_until(lambda: not accounts.worker.part("erasures")[0], 15)
    assert "earlier_changes" in accounts.worker.part("erasures")[1]


@pytest.mark.parametrize("user", ["", "x" * 300, "\udcff"])
def test_who_cant_be_a_user_is_not_erased_by_the_command_either(deployment: Stack, tmp_path: Path, user: str) -> None:
    """No row of the ledger comes of a typing error."""
    before = deployment.rows("SELECT count(*) FROM provisionings")
    refused = Commands(deployment, tmp_path)("erase", user, "--yes")
    assert (refused.code, "Invalid value for 'USER'" in refused.err) == (2, True)
    assert deployment.rows("SELECT count(*) FROM provisionings") == before


def test_what_came_of_a_change_is_gone_with_its_user(accounts: Accounts) -> None:
    """Who was told where to look finds nothing there, and who asks again is refused as whoever asks then."""
    assert accounts.change("ann", {"canceling": True}, Idempotency_Key="k").status == 200
    [change] = accounts.stack.rows("SELECT id FROM account_changes WHERE user_id = 'ann'")
    assert erase(accounts).status == 200
    again = accounts.change("ann", {"canceling": True}, Idempotency_Key="k")
    assert (again.status, again.body["code"]) == (409, "erased")
    told_of = ask(accounts, f"/account-changes/{change['id']}", ADMIN.token)
    assert (told_of.status, told_of.body["code"]) == (404, "no_change")


def test_a_command_whose_user_is_erased_before_it_looks_says_so(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of its change is erased, too."""
    find = Asking.find

    def erase_first(asking: Asking, identifier: UUID) -> ToldChange | None:
        monkeypatch.setattr(Asking, "find", find)
        assert erase(accounts).status == 200
        return find(asking, identifier)

    with open_changing(accounts.stack.settings(), random.Random(1)) as changing:
        monkeypatch.setattr(Asking, "find", erase_first)
        with pytest.raises(ChangeRefused, match="erased since"):
            changing.make(Kind.UPDATE, "ann", SubscriptionChange(canceling=True))

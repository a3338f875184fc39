"""PATCH /subscriptions/{user_id}: what is asked of Stripe, in which order, and our row as Stripe answered."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from sandbox.ports import free_port
from tests.integration.accounts.conftest import ADMIN, Accounts, NewAccounts, signed_up, token_of
from tests.integration.accounts.paying import body
from tests.integration.provisioning.test_privacy import dump
from tests.integration.web.callers import ask
from tests.support.stack import SECRET_KEY, Stack
from tests.support.waiting import wait_until
from worker.accounts import asking
from worker.accounts.leases import ChangeLeases
from worker.domain.account_changes import AccountChange
from worker.runtime import accounts as account_work
from worker.web.api import app


def pays(accounts: Accounts, user: str = "ann", card: str = "pm_card_visa", **form: str) -> None:
    """The user has a card, and the trial is over."""
    customer = accounts.customer(user)["id"]
    method = accounts.stack.call_stripe("POST", f"/v1/payment_methods/{card}/attach", customer=customer)["id"]
    default = {"invoice_settings[default_payment_method]": method}
    accounts.stack.call_stripe("POST", f"/v1/customers/{customer}", **default)
    accounts.at_stripe_do(user, trial_end="now", **form)


def writes(accounts: Accounts) -> list[str]:
    """What was asked of Stripe to change, in order."""
    asked = accounts.stack.control.requests()
    return [f"{each['method']} {each['path']}" for each in asked if each["method"] != "GET"]


def test_a_plan_that_is_chosen_on_trial_keeps_the_trial(accounts: Accounts) -> None:
    before = accounts.at_stripe("ann")
    reply = accounts.change("ann", {"plan": "pro"})
    assert (reply.status, reply.body["plan"], reply.body["status"]) == (200, "pro", "trialing")
    after = accounts.at_stripe("ann")
    assert after["items"]["data"][0]["price"]["lookup_key"] == "pro"
    assert after["trial_end"] == before["trial_end"]
    (asked,) = accounts.asked("ann")
    assert (asked["proration_behavior"], int(asked["trial_end"])) == ("none", before["trial_end"])
    read = accounts.read("ann")
    assert (read.body, read.headers["ETag"]) == (reply.body, reply.headers["ETag"])
    (told,) = accounts.stack.rows("SELECT before, after FROM subscription_changes WHERE cause = 'requested'")
    assert (told["before"]["plan"], told["after"]["plan"]) == ("pending", "pro")
    assert not accounts.stack.rows("SELECT 1 FROM subscription_refreshes")


def test_a_plan_that_is_paid_for_is_prorated_as_configured_and_nothing_is_left_unpaid(accounts: Accounts) -> None:
    pays(accounts)
    reply = accounts.change("ann", {"plan": "gold"})
    assert (reply.status, reply.body["plan"], reply.body["status"]) == (200, "gold", "active")
    asked = accounts.asked("ann")[-1]
    assert (asked["proration_behavior"], asked["payment_behavior"]) == ("always_invoice", "error_if_incomplete")
    assert "trial_end" not in asked


def test_a_card_is_attached_and_default_wherever_there_is_one(accounts: Accounts) -> None:
    assert accounts.change("ann", {"stripe_source": "pm_card_visa"}).status == 200
    first = accounts.customer("ann")["invoice_settings"]["default_payment_method"]
    assert accounts.at_stripe("ann")["default_payment_method"] is None
    accounts.at_stripe_do("ann", default_payment_method=first)
    assert accounts.change("ann", {"stripe_source": "pm_card_mastercard"}).status == 200
    second = accounts.customer("ann")["invoice_settings"]["default_payment_method"]
    assert second != first
    assert accounts.at_stripe("ann")["default_payment_method"] == second


@pytest.mark.parametrize("is_lost", [False, True], ids=["heard", "lost"])
def test_whoever_gave_a_card_is_told_that_it_can_be_charged(accounts: Accounts, is_lost: bool) -> None:
    """Also where Stripe's answer comes from memory; and within seconds of the signup, whose customer had none: then it
    is asked once more whether it is still so."""
    accounts.stack.rows("UPDATE billing_customers SET default_seen_from = now(), default_seen_to = now()")
    path = f"/v1/customers/{accounts.customer('ann')['id']}"
    if is_lost:
        accounts.stack.control.fault("drop", match={"path": path, "method": "POST"}, times=1, when="after")
    assert accounts.read("ann").body["payable"] is False
    reply = accounts.change("ann", {"stripe_source": "pm_card_visa"})
    assert (reply.status, reply.body["payable"]) == (200, True)
    read = accounts.read("ann")
    assert (read.body, read.headers["ETag"]) == (reply.body, reply.headers["ETag"])
    (told,) = accounts.stack.rows("SELECT before, after FROM subscription_changes WHERE cause = 'requested'")
    assert (told["before"]["payable"], told["after"]["payable"]) == (False, True)
    (mark,) = accounts.stack.rows("SELECT due_at > now() AS is_later FROM subscription_refreshes")
    assert mark["is_later"]
    accounts.stack.start_worker("events")
    wait_until(lambda: not accounts.stack.rows("SELECT 1 FROM subscription_refreshes"), 20)
    assert accounts.read("ann").body == reply.body


def test_a_card_that_is_gone_by_the_time_its_answer_comes_from_memory_is_not_told(
    accounts: Accounts, impatient: None
) -> None:
    """Stripe made it the default, and its answer was lost; somebody detached it before the next one came."""
    control, customer = accounts.stack.control, accounts.customer("ann")["id"]
    match = {"path": f"/v1/customers/{customer}", "method": "POST"}
    control.fault("drop", match=match, times=1, when="after")
    control.fault("status", match=match, status=503)
    assert accounts.change("ann", {"stripe_source": "pm_card_visa"}, Idempotency_Key="k").status == 202
    wait_until(lambda: accounts.customer("ann")["invoice_settings"]["default_payment_method"] is not None)
    wait_until(lambda: accounts.rows()[0]["last_error"] is not None)
    card = accounts.customer("ann")["invoice_settings"]["default_payment_method"]
    accounts.stack.call_stripe("POST", f"/v1/payment_methods/{card}/detach")
    control.clear_faults()
    wait_until(lambda: accounts.rows()[0]["state"] == "applied", 30)
    assert accounts.change("ann", {"stripe_source": "pm_card_visa"}, Idempotency_Key="k").body["payable"] is False
    assert accounts.stack.rows("SELECT default_payment_method AS it FROM billing_customers") == [{"it": None}]


def test_card_email_plan_and_end_are_asked_for_in_this_order(accounts: Accounts) -> None:
    asked = {"canceling": True, "plan": "pro", "email": "ann@new.example", "stripe_source": "pm_card_visa"}
    before = len(writes(accounts))
    reply = accounts.change("ann", asked)
    assert (reply.status, reply.body["canceling"], reply.body["plan"]) == (200, True, "pro")
    customer, subscription = f"POST /v1/customers/{accounts.customer('ann')['id']}", accounts.id_of("ann")
    assert writes(accounts)[before:] == [
        "POST /v1/payment_methods/pm_card_visa/attach", customer, customer,
        *[f"POST /v1/subscriptions/{subscription}"] * 2,
    ]  # fmt: skip
    assert accounts.customer("ann")["email"] == "ann@new.example"
    (row,) = accounts.rows()
    assert (row["state"], row["sealed_email"], row["caller"]) == ("applied", None, "user ann")


def test_a_decline_halfway_says_which_steps_hold(accounts: Accounts) -> None:
    pays(accounts)
    asked = {
        "stripe_source": "pm_card_chargeCustomerFail",
        "email": "ann@new.example",
        "plan": "pro",
        "canceling": True,
    }
    reply = accounts.change("ann", asked, Idempotency_Key="k")
    assert (reply.status, reply.body["code"]) == (402, "card_declined")
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.body["applied"] == ["stripe_source", "email"]
    assert [(each["pointer"], each["code"]) for each in reply.body["errors"]] == [("/body/plan", "card_declined")]
    assert accounts.customer("ann")["email"] == "ann@new.example"
    assert (accounts.read("ann").body["canceling"], accounts.rows()[0]["sealed_email"]) == (False, None)
    before = len(accounts.stack.control.requests())
    assert accounts.change("ann", asked, Idempotency_Key="k").body == reply.body
    assert len(accounts.stack.control.requests()) == before, "the same result, and nothing is asked again"


def test_a_declined_change_costs_no_read_after_it(accounts: Accounts) -> None:
    """Nothing came of it at Stripe. A mark that was there before stays: somebody else wants to know."""
    pays(accounts, card="pm_card_chargeCustomerFail")
    accounts.stack.rows("DELETE FROM subscription_refreshes")
    assert accounts.change("ann", {"plan": "pro"}).status == 402
    assert accounts.stack.rows("SELECT 1 FROM subscription_refreshes") == []
    accounts.stack.rows(
        "INSERT INTO subscription_refreshes (stripe_subscription_id, due_at) VALUES (%s, now() + interval '1 hour')",
        accounts.id_of("ann"),
    )
    assert accounts.change("ann", {"plan": "gold"}).status == 402
    assert len(accounts.stack.rows("SELECT 1 FROM subscription_refreshes")) == 1


def test_a_decline_from_memory_is_that_decline(accounts: Accounts) -> None:
    """The answer is lost, and the same key brings it back."""
    pays(accounts, card="pm_card_chargeCustomerFail")
    path = f"/v1/subscriptions/{accounts.id_of('ann')}"
    accounts.stack.control.fault("drop", match={"path": path, "method": "POST"}, times=1, when="after")
    reply = accounts.change("ann", {"plan": "pro"})
    assert (reply.status, reply.body["code"], reply.body.get("applied")) == (402, "card_declined", None)
    keys = {each["idempotency_key"] for each in accounts.stack.requests("POST", path) if each["idempotency_key"]}
    assert len(keys) == 1


def test_a_key_that_only_brings_back_an_error_of_stripes_is_followed_by_the_next(accounts: Accounts) -> None:
    path = f"/v1/subscriptions/{accounts.id_of('ann')}"
    accounts.stack.control.fault("status", match={"path": path, "method": "POST"}, times=1, status=500, when="after")
    reply = accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k")
    wait_until(lambda: accounts.rows()[0]["state"] == "applied")
    assert accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k").body["plan"] == "pro"
    assert reply.status in {200, 202}
    assert accounts.read("ann").body["plan"] == "pro"


@pytest.mark.parametrize("end", [{"cancel_at_period_end": "true"}, {"cancel_at": "in a week"}, {}])
def test_a_cancellation_is_undone_whichever_way_it_was_made(accounts: Accounts, end: Mapping[str, str]) -> None:
    before = accounts.at_stripe("ann")
    in_a_week = str(before["current_period_end"] if "current_period_end" in before else before["trial_end"] - 86_400)
    accounts.at_stripe_do("ann", **{name: in_a_week if name == "cancel_at" else value for name, value in end.items()})
    reply = accounts.change("ann", {"canceling": False})
    after = accounts.at_stripe("ann")
    assert (reply.status, reply.body["canceling"]) == (200, False)
    assert (after["cancel_at"], after["cancel_at_period_end"]) == (None, False)


def test_what_is_so_already_is_told_as_stripe_has_it(accounts: Accounts) -> None:
    """Nobody has told us of what somebody did in the dashboard."""
    accounts.at_stripe_do("ann", cancel_at_period_end="true")
    assert accounts.read("ann").body["canceling"] is False
    assert accounts.change("ann", {"canceling": True}).body["canceling"] is True
    assert len(accounts.asked("ann")) == 1
    assert not accounts.stack.rows("SELECT 1 FROM subscription_refreshes")


def test_the_same_key_and_body_is_done_once_and_another_body_is_refused(accounts: Accounts) -> None:
    first = accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k-1")
    assert accounts.change("ann", {"canceling": True}).body["version"] == first.body["version"] + 1
    again = accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k-1")
    assert (again.status, again.body, again.headers["ETag"]) == (200, first.body, first.headers["ETag"])
    other = accounts.change("ann", {"plan": "gold"}, Idempotency_Key="k-1")
    assert (other.status, other.body["code"]) == (422, "key_reused")
    by_an_admin = accounts.change("ann", {"plan": "gold"}, ADMIN.token, Idempotency_Key="k-1")
    assert by_an_admin.body["plan"] == "gold", "another caller's keys are others"
    assert accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k 1").body["errors"][0]["pointer"] == (
        "/header/Idempotency-Key"
    )


def test_a_change_that_was_made_is_told_after_its_plan_was_taken_from_the_settings(
    accounts: Accounts, new_accounts: NewAccounts
) -> None:
    """The answer may have been lost in the very deploy that took the plan away."""
    first = accounts.change("ann", {"plan": "gold"}, Idempotency_Key="k")
    assert first.status == 200
    page = accounts.post("/billing/subscriptions", body("ann", "gold"), Idempotency_Key="page")
    accounts.stack.environ.pop("SUBKEEPER_PLANS__GOLD__UNIT_AMOUNT")
    without = new_accounts()
    again = without.change("ann", {"plan": "gold"}, Idempotency_Key="k")
    assert (again.status, again.body["plan"], again.body["version"]) == (200, "gold", first.body["version"])
    assert without.post("/billing/subscriptions", body("ann", "gold"), Idempotency_Key="page").body == page.body
    for key in ({"Idempotency_Key": "another"}, {}):
        for refused in (
            without.change("ann", {"plan": "gold"}, **key),
            without.post("/billing/subscriptions", body("ann", "gold"), **key),
        ):
            assert (refused.status, refused.body["code"]) == (400, "parameters_wrong")
            (error,) = refused.body["errors"]
            assert (error["pointer"], error["code"]) == ("/body/plan", "not_acceptable")
    assert len(accounts.rows()) == 2


def test_the_same_request_is_known_while_sealing_keys_are_rotated(
    accounts: Accounts, new_accounts: NewAccounts
) -> None:
    first = accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k")
    new = "another-secret-key-of-more-than-32-characters"
    rotated = new_accounts(SUBKEEPER_SECRET_KEY=f"{new},{SECRET_KEY}")
    again = rotated.change("ann", {"plan": "pro"}, Idempotency_Key="k")
    assert (again.status, again.body) == (200, first.body)
    assert rotated.change("ann", {"plan": "gold"}, Idempotency_Key="k").status == 422


def test_the_same_request_at_once_is_done_once(accounts: Accounts) -> None:
    accounts.stack.control.latency(ms=100)
    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(lambda _: accounts.change("ann", {"plan": "pro"}, Idempotency_Key="k"), range(6)))
    assert {(each.status, each.body["version"]) for each in told} == {(200, 2)}
    assert (len(accounts.rows()), len(accounts.asked("ann"))) == (1, 1)


def test_a_change_for_a_state_that_is_no_more_is_not_made(accounts: Accounts) -> None:
    etag = accounts.read("ann").headers["ETag"]
    changed = accounts.change("ann", {"plan": "pro"}, If_Match=f'"other", {etag}')
    assert changed.status == 200
    refused = accounts.change("ann", {"plan": "gold"}, If_Match=etag)
    assert (refused.status, refused.body["code"]) == (412, "changed_meanwhile")
    for fits in (changed.headers["ETag"], "*"):
        assert accounts.change("ann", {"email": "ann@new.example"}, If_Match=fits).status == 200
    for misfits in (f"W/{changed.headers['ETag']}", "", '"*"'):
        assert accounts.change("ann", {"plan": "gold"}, If_Match=misfits).status == 412


def test_what_a_change_has_moved_itself_is_no_reason_not_to_go_on(accounts: Accounts) -> None:
    etag = accounts.read("ann").headers["ETag"]
    reply = accounts.change("ann", {"plan": "pro", "canceling": True}, If_Match=etag)
    assert (reply.status, reply.body["plan"], reply.body["canceling"]) == (200, "pro", True)


def test_two_changes_at_once_are_made_one_after_the_other(accounts: Accounts) -> None:
    """Of two that are meant for the same state, the second is not made."""
    accounts.stack.control.latency(ms=150)
    etag = accounts.read("ann").headers["ETag"]
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda plan: accounts.change("ann", {"plan": plan}, If_Match=etag), ["pro", "gold"]))
    assert sorted(each.status for each in both) == [200, 412]
    (made,) = [each.body["plan"] for each in both if each.status == 200]
    with ThreadPoolExecutor(4) as threads:
        asked = [{"plan": "pro"}, {"canceling": True}, {"plan": "gold"}, {"email": "ann@new.example"}]
        told = list(threads.map(lambda body: accounts.change("ann", body), asked))
    assert {each.status for each in told} == {200}
    assert made in {"pro", "gold"}
    chosen = [row["wanted"]["plan"] for row in accounts.rows() if row["state"] == "applied" and "plan" in row["wanted"]]
    assert (accounts.read("ann").body["plan"], accounts.read("ann").body["canceling"]) == (chosen[-1], True)
    assert accounts.at_stripe("ann")["items"]["data"][0]["price"]["lookup_key"] == chosen[-1]


def test_what_moved_while_stripe_answered_is_not_written_over(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event was taken in between our request and its answer's commit: Stripe is asked again."""
    write = ChangeLeases.advance

    def advance(leases: ChangeLeases, lease: Any, changed: AccountChange, *answer: Any) -> None:
        accounts.stack.rows("UPDATE billing_subscriptions SET version = version + 1, canceling = true")
        write(leases, lease, changed, *answer)

    monkeypatch.setattr(ChangeLeases, "advance", advance)
    reply = accounts.change("ann", {"plan": "pro"})
    assert (reply.status, reply.body["plan"], reply.body["canceling"]) == (200, "pending", True)
    (mark,) = accounts.stack.rows("SELECT due_at <= now() AS is_due FROM subscription_refreshes")
    assert mark["is_due"]
    accounts.stack.start_worker("events")
    wait_until(lambda: accounts.read("ann").body["plan"] == "pro")
    assert accounts.read("ann").body["canceling"] is False


def test_an_event_that_confirmed_the_row_meanwhile_keeps_an_older_answer_out(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ChangeLeases.advance

    def advance(leases: ChangeLeases, lease: Any, changed: AccountChange, *answer: Any) -> None:
        accounts.stack.rows("UPDATE subscription_refreshes SET confirmed = confirmed + 1")
        write(leases, lease, changed, *answer)

    monkeypatch.setattr(ChangeLeases, "advance", advance)
    assert accounts.change("ann", {"plan": "pro"}).body["plan"] == "pending"
    assert accounts.stack.rows("SELECT 1 FROM subscription_refreshes WHERE due_at <= now()")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(app, "LOOK_SECONDS", 0.1)


def test_what_takes_long_is_told_later(accounts: Accounts, impatient: None) -> None:
    path = f"/v1/customers/{accounts.customer('ann')['id']}"
    accounts.stack.control.fault("status", match={"path": path, "method": "POST"}, status=503)
    asked = {"email": "ann.of.a.canary@new.example"}
    reply = accounts.change("ann", asked, Idempotency_Key="k")
    assert (reply.status, reply.body["state"]) == (202, "pending")
    where = reply.headers["Location"]
    for who, status in ((token_of("ann"), 200), (token_of("bob"), 403), (ADMIN.token, 200), (None, 401)):
        assert ask(accounts, where, who).status == status
    assert ask(accounts, where[:-1] + ("0" if where[-1] != "0" else "1"), ADMIN.token).body["code"] == "no_change"
    assert accounts.change("ann", asked, Idempotency_Key="k").status == 202
    (row,) = accounts.rows()
    assert row["sealed_email"] is not None, "sealed while it waits"
    assert "canary" not in dump(accounts.stack)
    wait_until(lambda: accounts.rows()[0]["last_error"] is not None)
    accounts.stack.control.clear_faults()
    wait_until(lambda: ask(accounts, where, token_of("ann")).body["state"] == "applied", 20)
    told = ask(accounts, where, token_of("ann")).body
    assert (told["applied"], told["subscription"]["user_id"]) == (["email"], "ann")
    assert accounts.change("ann", asked, Idempotency_Key="k").status == 200
    assert accounts.rows()[0]["sealed_email"] is None
    assert "canary" not in dump(accounts.stack)


def test_no_log_line_of_any_trouble_holds_the_email(deployment: Stack) -> None:
    """Answers that are lost, refusals that quote it, a crash: all logged, at debug level."""
    port = free_port()
    web = deployment.spawn("run", "web", SUBKEEPER_WEB__PORT=str(port), STRIPE_LOG="debug")
    wait_until(lambda: any(line["part"] == "accounts" and line["ok"] for line in web.logged("health.changed")))
    for fault in ({"kind": "drop", "when": "after"}, {"kind": "status", "status": 400}):
        deployment.control.fault(match={"method": "POST"}, times=1, **fault)
    asked: list[object] = [
        {"email": "quoted.canary@new.example"},
        {"email": "refused.canary@new.example <x>"},
        {"email": ["canary@new.example"]},
        b'{"email": "torn.canary@new.example',
    ]
    told = [ask(Served(port), "/subscriptions/ann", token_of("ann"), "PATCH", body) for body in asked]
    deployment.rows("ALTER TABLE account_changes RENAME COLUMN digest TO gone")
    told.append(
        ask(Served(port), "/subscriptions/ann", token_of("ann"), "PATCH", {"email": "crash.canary@new.example"})
    )
    assert {each.status for each in told} & {400, 500, 503}
    assert web.logged("stripe_call.failed")
    assert web.logged("request.answered")
    assert "canary" not in web.text
    assert "canary" not in f"{[each.body for each in told]}"
    assert "canary" not in dump(deployment)


class Served(NamedTuple):
    web_port: int


def test_a_change_that_waits_holds_up_its_user_alone(accounts: Accounts, impatient: None) -> None:
    signed_up(accounts.stack, "bob")
    path = f"/v1/subscriptions/{accounts.id_of('ann')}"
    accounts.stack.control.fault("status", match={"path": path, "method": "POST"}, status=503)
    assert accounts.change("ann", {"plan": "pro"}).status == 202
    assert accounts.change("ann", {"canceling": True}).status == 202
    assert accounts.change("bob", {"plan": "pro"}).status in {200, 202}
    wait_until(lambda: accounts.read("bob").body["plan"] == "pro")
    accounts.stack.control.clear_faults()
    wait_until(lambda: accounts.read("ann").body["canceling"], 20)
    assert [row["state"] for row in accounts.rows()] == ["applied"] * 3
    assert accounts.read("ann").body["plan"] == "pro"


def test_who_asks_for_more_than_can_be_done_is_told_to_wait_and_an_admin_may_still_remove(
    accounts: Accounts, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "MOST_WAITING", 3)
    accounts.stack.control.fault("status", match={"method": "POST"}, status=503)
    told = [accounts.change("ann", {"canceling": number % 2 == 0}, Idempotency_Key=f"{number}") for number in range(4)]
    assert [each.status for each in told] == [202, 202, 202, 429]
    assert (told[-1].body["code"], told[-1].headers["Retry-After"]) == ("too_many_waiting", "1")
    assert accounts.change("ann", {"canceling": True}, Idempotency_Key="2").status == 202, "that one is known"
    assert accounts.delete("ann").status == 202
    assert len(accounts.rows()) == 4


def test_a_row_of_a_dead_process_is_swept_by_any_other(accounts: Accounts, impatient: None) -> None:
    accounts.stack.control.fault("status", match={"method": "POST"}, status=503)
    assert accounts.change("ann", {"plan": "pro"}).status == 202
    wait_until(lambda: accounts.rows()[0]["last_error"] is not None)
    accounts.worker.stop()
    accounts.stack.control.clear_faults()
    accounts.stack.start_worker("web")
    wait_until(lambda: accounts.rows()[0]["state"] == "applied", 20)


def test_without_a_key_subscriptions_are_read_and_not_changed(new_accounts: NewAccounts) -> None:
    accounts = new_accounts(STRIPE_SECRET_KEY="")
    assert accounts.read("ann").body["plan"] == "pending"
    told = [
        accounts.change("ann", {"plan": "pro"}),
        accounts.create({"user_id": "new", "plan": "pro"}),
        accounts.delete("ann"),
    ]
    assert {(each.status, each.body["code"]) for each in told} == {(503, "billing-disabled")}
    assert accounts.rows() == []
    assert accounts.worker.part("accounts")[1].startswith("disabled")


def test_while_stripe_refuses_the_key_nothing_is_taken_in_and_readiness_says_why(new_accounts: NewAccounts) -> None:
    accounts = new_accounts()
    accounts.stack.control.fault("status", match={"method": "POST"}, status=401)
    accounts.stack.control.fault("status", match={"path": "/v1/account"}, status=401)
    with ThreadPoolExecutor(1) as threads:
        waits = threads.submit(accounts.change, "ann", {"plan": "pro"})
        wait_until(lambda: not accounts.worker.is_ready())
        assert "STRIPE_SECRET_KEY" in accounts.worker.part("accounts")[1]
        refused = accounts.change("ann", {"plan": "gold"})
        assert (refused.status, refused.body["code"]) == (503, "unavailable")
        accounts.stack.control.clear_faults()
        assert waits.result().body["plan"] == "pro"
    wait_until(accounts.worker.is_ready)


def test_what_waits_is_counted(accounts: Accounts, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_work, "WATCH_SECONDS", 0.1)
    accounts.worker.stop()
    web = Accounts(accounts.stack, accounts.stack.start_worker("web"))
    wait_until(web.worker.is_ready)
    web.stack.control.fault("status", match={"method": "POST"}, status=503)
    web.change("ann", {"plan": "pro"})
    wait_until(lambda: web.worker.metric("subkeeper_account_changes_waiting") == 1)
    wait_until(lambda: web.worker.metric("subkeeper_account_changes_oldest_age_seconds") > 0)
    assert web.worker.metric("subkeeper_account_change_seconds_count", outcome="postponed") >= 1
    web.stack.control.clear_faults()
    wait_until(lambda: web.worker.metric("subkeeper_account_changes_waiting") == 0, 20)


def test_what_ended_a_month_ago_is_deleted_however_much_it_is(
    accounts: Accounts, new_accounts: NewAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.stack.rows(
        """
        INSERT INTO account_changes (id, kind, user_id, caller, digest, state, steps, wanted, ended_at)
        SELECT gen_random_uuid(), 'update', 'ann', 'user ann', '', 'applied', '{plan}', '{}',
            now() - day * interval '1 day'
        FROM unnest(ARRAY[29, 31, 31, 32, 40, 40]) AS day
        """
    )
    monkeypatch.setattr(account_work, "PRUNED_AT_ONCE", 2)
    new_accounts()
    wait_until(lambda: len(accounts.rows()) == 1)


def test_a_key_that_stripe_may_have_forgotten_is_not_asked_under_again(accounts: Accounts, impatient: None) -> None:
    """What was done is found by looking: it is not done twice."""
    path = f"/v1/subscriptions/{accounts.id_of('ann')}"
    accounts.stack.control.fault(
        "status", match={"path": path, "method": "POST"}, status=503, when="after", sticky=False
    )
    accounts.change("ann", {"plan": "pro"})
    wait_until(lambda: accounts.rows()[0]["last_error"] is not None)
    asked = len(accounts.asked("ann"))
    accounts.stack.rows("UPDATE account_changes SET asked_at = now() - %s, due_at = now()", timedelta(hours=24))
    accounts.stack.control.clear_faults()
    wait_until(lambda: accounts.rows()[0]["state"] == "applied", 20)
    assert accounts.read("ann").body["plan"] == "pro"
    assert len(accounts.asked("ann")) <= asked + 1


def test_stopping_waits_for_what_was_asked(accounts: Accounts) -> None:
    accounts.stack.control.latency(ms=300)
    told: list[int] = []
    asking = threading.Thread(target=lambda: told.append(accounts.change("ann", {"plan": "pro"}).status))
    asking.start()
    wait_until(accounts.rows)
    assert accounts.worker.stop() == 0
    asking.join(10)
    assert told == [200]


def test_what_the_key_may_not_do_is_told_to_who_asked_and_keeps_nobody_else_waiting(accounts: Accounts) -> None:
    path = "/v1/payment_methods/pm_card_visa/attach"
    accounts.stack.control.fault("status", match={"path": path}, status=403, sticky=False)
    refused = accounts.change("ann", {"stripe_source": "pm_card_visa", "plan": "pro"})
    assert (refused.status, refused.body["code"]) == (503, "not_permitted")
    assert accounts.change("ann", {"plan": "pro"}).status == 200

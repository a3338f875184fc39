"""What all profiles share is wrong: settling stops, nobody is quarantined, and it goes on once that is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Stack, Worker, profile, users
from tests.support.waiting import wait_until
from worker.errors import Misconfigured

pytestmark = pytest.mark.usefixtures("quick_probes")


def await_halt(worker: Worker, *words: str) -> None:
    """Settling is halted, with these words in the reason."""

    def is_halted() -> bool:
        ok, detail = worker.part("stripe")
        return not ok and all(word in detail for word in words)

    wait_until(is_halted, what=f"halted: {words}")
    assert not worker.is_ready()
    assert not worker.is_healthy(), "a person must act"


def assert_nobody_is_blamed(stack: Stack, *user_ids: str) -> None:
    wait_until(stack.is_drained, what="absorbed all the same")
    states = stack.rows("SELECT user_id, state FROM provisionings")
    assert {row["user_id"] for row in states} == set(user_ids)
    assert {row["state"] for row in states} <= {"pending", "customer_created"}


def test_a_price_that_is_archived_stops_settling_until_it_is_mended(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(profile("first"))
    stack.await_completed("first")
    price = stack.price()["id"]
    stack.call_stripe("POST", f"/v1/prices/{price}", active="false")
    stack.publish(*[profile(name) for name in users(5)])
    await_halt(worker)
    wait_until(stack.is_drained, what="absorbed all the same")
    assert not stack.rows("SELECT 1 FROM provisionings WHERE state = 'quarantined'")
    asked = len(stack.control.requests())
    stack.call_stripe("POST", f"/v1/prices/{price}", active="true")
    stack.await_completed(*users(5))
    wait_until(worker.is_ready)
    stack.assert_exactly_one("first", *users(5))
    assert len(stack.control.requests()) - asked < 100, "the way back was no storm"


def test_a_price_replaced_by_another_one_is_taken_without_a_restart(stack: Stack) -> None:
    worker = stack.start_worker()
    stack.publish(profile("first"))
    stack.await_completed("first")
    old = stack.price()
    stack.call_stripe("POST", f"/v1/prices/{old['id']}", active="false")
    stack.publish(*[profile(name) for name in users(3)])
    await_halt(worker)
    new = stack.call_stripe(
        "POST", "/v1/prices", product=old["product"], currency="usd", unit_amount="0", lookup_key="pending",
        transfer_lookup_key="true", **{"recurring[interval]": "month"},
    )  # fmt: skip
    stack.await_completed(*users(3))
    stack.assert_exactly_one("first", price=old["id"])
    stack.assert_exactly_one(*users(3), price=new["id"])


def test_no_price_at_all_stops_settling_until_setup_has_run(new_stack: NewStack) -> None:
    stack = new_stack()
    worker = stack.start_worker()
    await_halt(worker, "subkeeper setup")
    stack.publish(*[profile(name) for name in users(3)])
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings")) == 3)
    assert_nobody_is_blamed(stack, *users(3))
    stack.setup()
    stack.await_completed(*users(3))
    stack.assert_exactly_one(*users(3))


def revoked_at_work(stack: Stack, tmp_path: Path) -> tuple[Worker, Path]:
    """A worker that has served somebody, and whose key is then revoked; the file that it reads its key from."""
    file = tmp_path / "stripe-key"
    file.write_text(stack.stripe.secret_key)
    worker = stack.start_worker(STRIPE_SECRET_KEY="", STRIPE_SECRET_KEY_FILE=str(file))
    stack.publish(profile("first"))
    stack.await_completed("first")
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    return worker, file


def test_a_revoked_key_stops_settling_until_a_new_one_is_in_its_file(stack: Stack, tmp_path: Path) -> None:
    worker, file = revoked_at_work(stack, tmp_path)
    stack.publish(*[profile(name) for name in users(5)])
    await_halt(worker, "STRIPE_SECRET_KEY")
    wait_until(stack.is_drained)
    assert not stack.rows("SELECT 1 FROM provisionings WHERE state = 'quarantined'")
    stack.control.put_key("sk_test_the_new_one")
    file.write_text("sk_test_the_new_one\n")
    stack.await_completed(*users(5))
    wait_until(worker.is_ready)
    assert worker.is_healthy()
    stack.control.put_key(stack.stripe.secret_key)
    stack.assert_exactly_one("first", *users(5))


def test_a_key_that_stripe_refuses_at_the_start_is_waited_for(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "stripe-key"
    file.write_text("sk_test_wrong")
    worker = stack.start_worker(STRIPE_SECRET_KEY="", STRIPE_SECRET_KEY_FILE=str(file))
    await_halt(worker, "STRIPE_SECRET_KEY")
    stack.publish(profile("ada"))
    file.write_text(stack.stripe.secret_key)
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")


def test_a_new_key_of_the_other_mode_is_not_taken(stack: Stack, tmp_path: Path) -> None:
    worker, file = revoked_at_work(stack, tmp_path)
    file.write_text("sk_live_of_another_mode")
    stack.publish(profile("ada"))
    await_halt(worker, "livemode")
    assert stack.ledger("ada")["state"] == "pending"


def test_a_restricted_key_that_may_too_little_stops_settling_until_it_may(stack: Stack) -> None:
    restricted = "rk_test_restricted"
    may = ["customer_write", "plan_read", "product_read", "account_read"]
    stack.control.put_key(restricted, permissions=may)
    worker = stack.start_worker(STRIPE_SECRET_KEY=restricted)
    stack.publish(*[profile(name) for name in users(3)])
    await_halt(worker, "403")
    assert_nobody_is_blamed(stack, *users(3))
    stack.control.put_key(restricted, permissions=[*may, "subscription_write"])
    stack.await_completed(*users(3))
    stack.assert_exactly_one(*users(3))


# Whom a database belongs to


def test_a_restricted_key_that_cannot_read_the_account_works_for_the_one_that_the_refusal_names(stack: Stack) -> None:
    restricted = "rk_test_restricted"
    stack.control.put_key(restricted, permissions=["customer_write", "plan_read", "product_read", "subscription_write"])
    stack.start_worker(STRIPE_SECRET_KEY=restricted)
    stack.publish(profile("ada"))
    stack.await_completed("ada")
    stack.assert_exactly_one("ada")
    assert [row["stripe_account_id"] for row in stack.rows("SELECT * FROM deployment")] == [stack.stripe.account]


def test_a_second_deployment_s_restricted_key_is_refused_though_it_cannot_read_its_account(
    stack: Stack, new_stack: NewStack
) -> None:
    stranger = new_stack(database_url=stack.database_url)
    stranger.control.put_key("rk_test_restricted", permissions=["customer_write", "subscription_write"])
    with pytest.raises(Misconfigured, match=r"^STRIPE_SECRET_KEY") as refusal:
        stranger.start_worker(STRIPE_SECRET_KEY="rk_test_restricted").join()
    assert stack.stripe.account in str(refusal.value)


def test_a_second_deployment_s_key_is_refused_at_the_start(stack: Stack, new_stack: NewStack) -> None:
    stranger = new_stack(database_url=stack.database_url)
    with pytest.raises(Misconfigured) as refusal:
        stranger.start_worker().join()
    assert refusal.value.key == "STRIPE_SECRET_KEY"
    assert stack.stripe.account in str(refusal.value)


def test_the_command_ends_with_2_and_names_the_key_of_a_second_deployment(stack: Stack, new_stack: NewStack) -> None:
    stranger = new_stack(database_url=stack.database_url)
    worker = stranger.spawn("run", "profiles")
    assert worker.wait(10) == 2
    assert "STRIPE_SECRET_KEY" in worker.text
    assert stranger.stripe.secret_key not in worker.text
    assert "Traceback" not in worker.text


def test_another_namespace_is_refused_at_the_start(stack: Stack) -> None:
    with pytest.raises(Misconfigured) as refusal:
        stack.start_worker(SUBKEEPER_NAMESPACE="another").join()
    assert refusal.value.key == "namespace"


def test_setup_with_a_second_deployment_s_key_is_refused_before_it_creates_anything(
    stack: Stack, new_stack: NewStack
) -> None:
    stranger = new_stack(database_url=stack.database_url)
    with pytest.raises(Misconfigured, match="STRIPE_SECRET_KEY"):
        stranger.setup()
    assert stranger.control.state()["counts"].get("product", 0) == 0


def test_the_other_mode_s_database_is_refused_at_the_start(stack: Stack) -> None:
    live = "sk_live_the_same_account"
    stack.control.put_key(live)
    with pytest.raises(Misconfigured) as refusal:
        stack.start_worker(STRIPE_SECRET_KEY=live, SUBKEEPER_STRIPE__LIVEMODE="true").join()
    assert refusal.value.key == "stripe.livemode"

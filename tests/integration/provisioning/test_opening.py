"""What a worker does before Stripe has told whose key it holds: it absorbs where the database is known to be its own,
and settles nothing before the key's account was compared with the database's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.provisioning.conftest import NewStack
from tests.support.stack import Http, Stack, Worker, profile, users
from tests.support.waiting import wait_until
from worker.errors import Misconfigured

pytestmark = pytest.mark.usefixtures("quick_probes")
WRONG, STRANGERS = "sk_test_wrong", "sk_test_of_another_account"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "stripe-key"


def start_with(stack: Stack, key_file: Path, key: str, **environ: str) -> Worker:
    key_file.write_text(key)
    return stack.start_worker(STRIPE_SECRET_KEY="", STRIPE_SECRET_KEY_FILE=str(key_file), **environ)


def await_stripe(worker: Http, *words: str) -> None:
    """Stripe's part isn't well, and says so in these words."""

    def says() -> bool:
        ok, detail = worker.part("stripe")
        return not ok and all(word in detail for word in words)

    wait_until(says, what=f"stripe says {words}")


def await_absorbed(stack: Stack, *user_ids: str) -> None:
    wait_until(lambda: len(stack.rows("SELECT 1 FROM provisionings")) == len(user_ids), what="absorbed")
    wait_until(stack.is_drained)


def test_with_a_refused_key_it_absorbs_and_settles_with_the_right_account_s_only(stack: Stack, key_file: Path) -> None:
    stack.control.put_key(STRANGERS, account="acct_stranger")
    worker = start_with(stack, key_file, WRONG)
    await_stripe(worker, "STRIPE_SECRET_KEY", "401")
    stack.publish(*[profile(name) for name in users(3)])
    await_absorbed(stack, *users(3))
    key_file.write_text(STRANGERS)
    await_stripe(worker, "acct_stranger", stack.stripe.account)
    assert not worker.is_healthy()
    stack.publish(*[profile(name) for name in users(5)[3:]])
    await_absorbed(stack, *users(5))
    asked = len(stack.control.requests())
    wait_until(lambda: len(stack.control.requests()) > asked + 3, what="it has tried again, more than once")
    assert {each["path"] for each in stack.control.requests()[asked:]} == {"/v1/account"}
    assert stack.control.state()["customers"] == []
    key_file.write_text(stack.stripe.secret_key)
    stack.await_completed(*users(5))
    wait_until(worker.is_ready)
    stack.assert_exactly_one(*users(5))


def test_a_stranger_s_key_after_the_right_one_settles_nothing_and_names_both_accounts(
    stack: Stack, key_file: Path
) -> None:
    stack.control.put_key(STRANGERS, account="acct_stranger")
    worker = start_with(stack, key_file, stack.stripe.secret_key)
    stack.publish(profile("first"))
    stack.await_completed("first")
    stack.control.put_key(stack.stripe.secret_key, revoked=True)
    key_file.write_text(STRANGERS)
    stack.publish(profile("ada"))
    await_stripe(worker, "acct_stranger", stack.stripe.account)
    await_absorbed(stack, "first", "ada")
    assert stack.customers("ada") == []
    stack.control.put_key(stack.stripe.secret_key)
    key_file.write_text(stack.stripe.secret_key)
    stack.await_completed("ada")


def test_while_stripe_is_away_it_absorbs_and_settles_once_it_is_back(stack: Stack) -> None:
    stack.control.fault("drop")
    worker = stack.start_worker()
    stack.publish(*[profile(name) for name in users(3)])
    await_absorbed(stack, *users(3))
    assert not worker.is_ready()
    assert worker.is_healthy(), "waiting mends it"
    stack.control.clear_faults()
    stack.await_completed(*users(3))
    wait_until(worker.is_ready)


def test_a_database_that_nobody_has_claimed_takes_nothing_in_before_stripe_tells_whose_key_it_is(
    new_stack: NewStack, key_file: Path
) -> None:
    stack = new_stack()
    stack.setup()
    stack.forget_claim()
    stack.publish(profile("ada"))
    worker = start_with(stack, key_file, WRONG)
    await_stripe(worker, "STRIPE_SECRET_KEY")
    assert not worker.is_healthy()
    asked = len(stack.control.requests())
    wait_until(lambda: len(stack.control.requests()) > asked + 2, what="it has tried again")
    assert stack.rows("SELECT 1 FROM provisionings") == []
    key_file.write_text(stack.stripe.secret_key)
    stack.await_completed("ada")
    assert [row["stripe_account_id"] for row in stack.rows("SELECT * FROM deployment")] == [stack.stripe.account]


@pytest.mark.parametrize(
    ("key", "environ", "named"),
    [
        (WRONG, {"SUBKEEPER_NAMESPACE": "another"}, "namespace"),
        ("sk_live_wrong", {"SUBKEEPER_STRIPE__LIVEMODE": "true"}, "stripe.livemode"),
    ],
)
def test_another_deployment_s_database_is_refused_though_stripe_tells_nothing(
    stack: Stack, key_file: Path, key: str, environ: dict[str, str], named: str
) -> None:
    with pytest.raises(Misconfigured) as refusal:
        start_with(stack, key_file, key, **environ).join()
    assert refusal.value.key == named


def test_trouble_is_logged_as_an_error_once_and_its_end_at_info(stack: Stack, key_file: Path) -> None:
    stack.control.put_key(STRANGERS, account="acct_stranger")
    key_file.write_text(WRONG)
    worker = stack.spawn_worker(STRIPE_SECRET_KEY="", STRIPE_SECRET_KEY_FILE=str(key_file))
    asked = len(stack.control.requests())
    wait_until(lambda: len(stack.control.requests()) > asked + 1, what="it has tried again")
    key_file.write_text(STRANGERS)
    await_stripe(worker, "acct_stranger")
    key_file.write_text(stack.stripe.secret_key)
    wait_until(worker.is_ready)
    said = [line for line in worker.logged("health.changed") if line["part"] == "stripe"]
    assert [(line["level"], line["ok"]) for line in said] == [("error", False), ("error", False), ("info", True)]
    assert ["401" in said[0]["detail"], "acct_stranger" in said[1]["detail"]] == [True, True]
